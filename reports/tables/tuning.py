"""Tables of a tuning: the results of each algorithm's trials, and which setting matters."""

from typing import Any

from bench.results.statistics import Estimate
from bench.results.tuning import search_statistics as search
from bench.results.tuning.search_statistics import INTERVAL, counts_shown, expected_best
from bench.results.tuning.tuning_file import Tuning, best
from reports import captions
from reports.reading.tunings import columns_of, methods_of, panels_of
from reports.tables.model import NOT_RUN, Head, Item, Row, Table


def build(tuning: Tuning | None) -> list[Table]:
    """Return the tables of a tuning in which every algorithm has ended a trial."""
    if tuning is None or not any(columns_of(tuning, name) for name in tuning.methods):
        return []
    return [_best(tuning), *_importance(tuning)]


def _best(tuning: Tuning) -> Table:
    """Return what is to be expected of 1, 2, 4 ... trials, by algorithm and panel."""
    counts = counts_shown(tuning.trials)
    columns = [
        Head("searched"), Head("trials"), Head("no result"), Head("preset's", "", "up"),
        *(Head(f"{count}", "expected best of trials", "up") for count in counts),
        Head("trial", "chosen"),
    ]  # fmt: skip
    rows = []
    for panel in panels_of(tuning):
        for method in methods_of(tuning):
            values = columns_of(tuning, method.algorithm).get(panel, [])
            rows.append(
                Row(
                    method.label,
                    _items(tuning, method.algorithm, panel, values, counts),
                    panel,
                    key=method.key,
                )
            )
    caption = captions.sentence(
        f"The best {tuning.measure} to be expected from so many trials (Dodge et al. 2019, "
        "draws with replacement from the trials that were made)",
        f"In brackets: {INTERVAL}",
        captions.tuning(tuning),
        "Searched: number of settings; preset's: trial 0, the preset's own setting; chosen: the "
        "best trial, whose score is an optimistic one",
    )
    title = "Tuning: what to expect of so many trials"
    return Table("tuning_best", title, caption, "algorithm", columns, rows, widest=len(columns))


def _items(
    tuning: Tuning, name: str, panel: str, values: list[float], counts: list[int]
) -> list[Item]:
    at = best(values)
    dataset = panel if panel in tuning.datasets else None
    return [
        Item(len(tuning.methods[name].space), digits=0),
        Item(tuning.trials, digits=0),
        Item(tuning.without_result(name, dataset), digits=0),
        Item(values[0]) if values else Item(words=NOT_RUN),
        *(Item(words=_bracketed(expected_best(values, count))) for count in counts),
        Item(words=NOT_RUN if at is None else str(at)),
    ]


def _bracketed(estimate: Estimate) -> str:
    if estimate.value is None:
        return NOT_RUN
    value, low, high = (
        Item(one).number()[0] for one in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"


def _importance(tuning: Tuning) -> list[Table]:
    """Return how much of the trials' ranks each setting explains alone; one table or none."""
    panels = panels_of(tuning)
    heads = panels if len(panels) > 1 else ["share"]
    columns = [
        Head("searched"), Head("chosen"),
        *(Head(head, "importance") for head in heads),
        Head("trend"),
    ]  # fmt: skip
    rows = [
        Row(key, _setting(tuning, method.algorithm, key, panels), method.label)
        for method in methods_of(tuning)
        for key in tuning.methods[method.algorithm].space
        if columns_of(tuning, method.algorithm)
    ]
    if tuning.trials < 5 or not rows:
        return []
    caption = captions.sentence(
        "Importance of a setting: share of the variance of the trials' ranks that it explains "
        "alone (numbers: a parabola in their rank; choices: their means; adjusted for degrees of "
        "freedom, so that chance gives 0 on average; interactions are not seen)",
        f"From {tuning.trials} trials of each algorithm, so that only large shares mean something",
        f"Trend on {panels[0]}: Spearman's rank correlation, or the choice with the best mean rank",
        f"Chosen: the value of the best trial by {panels[0]}",
        f"{NOT_RUN}: it did not vary, or the trials are too few",
    )
    title = "Tuning: which settings matter"
    return [
        Table("tuning_importance", title, caption, "setting", columns, rows, widest=len(columns))
    ]


def _setting(tuning: Tuning, name: str, key: str, panels: list[str]) -> list[Item]:
    """Return the row of one setting."""
    method, columns = tuning.methods[name], columns_of(tuning, name)
    values = [trial.settings[key] for trial in tuning.compared(name)]
    choices = method.space[key].choices
    shares = []
    for panel in panels:
        scores = columns.get(panel, [])
        share = _share(values, scores, choices is not None) if scores else None
        shares.append(Item(share, digits=2, words=NOT_RUN))
    scores = columns.get(panels[0], [])
    at = best(scores)
    return [
        Item(words=method.space[key].text),
        Item(words=NOT_RUN if at is None else _shown(values[at])),
        *shares,
        Item(words=_trend(values, scores, choices is not None)),
    ]


def _share(values: list[Any], scores: list[float], choice: bool) -> float | None:
    if choice:
        return search.importance_of_choice(values, scores)
    return search.importance_of_range(values, scores)


def _trend(values: list[Any], scores: list[float], choice: bool) -> str:
    """Return which way a setting goes, in words of a table."""
    if not scores:
        return NOT_RUN
    if not choice:
        trend = search.direction(values, scores)
        return NOT_RUN if trend is None else f"{trend:+.2f}"
    ranks = search.ranks(scores)
    means = {
        one: sum(rank for rank, value in zip(ranks, values, strict=True) if value == one)
        / values.count(one)
        for one in dict.fromkeys(values)
    }
    return _shown(max(means, key=lambda one: means[one])) if len(means) > 1 else NOT_RUN


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
