"""Tables of what was reached: returns, scores, aggregates, comparisons, learning speed."""

from collections.abc import Iterable

from bench.results import statistics
from reports import captions
from reports.reading import comparisons
from reports.reading.aggregates import AGGREGATES, RESAMPLES, aggregate_sets
from reports.reading.results import Group, Results, Track
from reports.tables.model import (
    NOT_RUN,
    WIDEST,
    Head,
    Item,
    Notes,
    Row,
    Table,
    item,
    oriented,
    used_notes,
)

NAMES = {"return_mean": "return", "score": "score"}
SCORE = "score = 100 (return - random) / (expert - random), references of the task's own data"
FRACTIONS = (0.25, 0.5, 1.0)
TARGETS = (50.0, 90.0)


def build(results: Results, column: str, kind: str) -> list[Table]:
    """Return the table of returns or scores: datasets by algorithms, turned beyond six."""
    groups = [group for group in results.groups if group.estimate(column).n]
    if not groups:
        return []
    notes = Notes()
    columns = [Head(method.label, key=method.key) for method in results.methods]
    rows: list[Row] = []
    for task, tracks in results.by_task().items():
        for track in tracks:
            rows.append(Row(track.short, _items(results, track, column, kind, notes), task))
    name = NAMES[column]
    caption = captions.sentence(
        f"Final {name} of the last checkpoint (higher is better): "
        f"mean over {captions.seeds(groups)}, {captions.episodes(groups)}",
        _plus_minus(kind, groups),
        "Bold: the best and everything whose t interval of the difference to it contains 0, "
        "not corrected for multiple comparisons",
        SCORE if column == "score" else "",
        captions.trials(groups),
        f"{NOT_RUN}: not run" if _absent(rows) else "",
    )
    parts = oriented(columns, rows)
    tables = []
    for at, (heads, lines) in enumerate(parts, start=1):
        stem = {"return_mean": "returns", "score": "scores"}[column]
        part = f" (part {at} of {len(parts)})" if len(parts) > 1 else ""
        tables.append(
            Table(
                f"{stem}_{at}" if len(parts) > 1 else stem, f"Final {name}{part}", caption + part,
                "algorithm" if len(columns) > WIDEST else name, heads, lines,
                used_notes(notes.by_letter(), lines),
                better="" if len(columns) > WIDEST else "up",
            )
        )  # fmt: skip
    return tables


def _absent(rows: list[Row]) -> bool:
    """Tell whether some place of a table holds neither a number nor a word for a failure."""
    return any(one.value is None and one.words == NOT_RUN for row in rows for one in row.items)


def _plus_minus(kind: str, groups: list[Group]) -> str:
    if all(group.estimate("return_mean").n < 2 for group in groups):
        return "One seed gives no interval, hence no ±"
    half = "half width of the " if kind == "ci95" else ""
    return f"± is the {half}{statistics.KINDS[kind]}"


def _items(results: Results, track: Track, column: str, kind: str, notes: Notes) -> list[Item]:
    """Return one dataset's items, in the order of the methods."""
    samples = {group.method: group.values(column) for group in results.on(track)}
    bold, _ = statistics.not_distinguishable_from_best(
        {method.label: values for method, values in samples.items()}
    )
    usual = max((len(values) for values in samples.values()), default=0)
    items = []
    for method in results.methods:
        group = results.group(method, track)
        if group is None:
            items.append(Item(words=NOT_RUN))
            continue
        mark = notes.mark(_remark(group, column, usual))
        if group.word or not group.estimate(column).n:
            items.append(Item(words=group.word or NOT_RUN, mark=mark))
        else:
            items.append(item(group.estimate(column, kind), 1, method.label in bold, mark))
    return items


def _remark(group: Group, column: str, usual: int) -> str:
    """Return what a reader must know about this item, or an empty string."""
    if group.trouble:
        return f"{group.trouble} without a result; not in bold and in no aggregate"
    if not group.estimate(column).n:
        return "no reference returns, hence no score" if column == "score" else "no result"
    if len(group.cells) < usual:
        return f"{len(group.cells)} instead of {usual} seeds"
    return ""


def aggregate_tables(results: Results) -> list[Table]:
    """Return aggregates over the datasets of each setting that has at least two."""
    tables: list[Table] = []
    for tracks, aggregates, refused in aggregate_sets(results):
        notes = Notes()
        columns = [Head(head, better=better) for head, better in AGGREGATES.values()]
        rows = [
            Row(
                method.label,
                [item(aggregates[method][name]) for name in AGGREGATES],
                key=method.key,
            )
            if method in aggregates
            else Row(
                method.label,
                [
                    Item(
                        words=NOT_RUN,
                        mark=notes.mark(refused[method].removeprefix("no aggregate: ")),
                    )
                ]
                + [Item(words=NOT_RUN)] * (len(AGGREGATES) - 1),
                key=method.key,
            )
            for method in results.methods
            if method in aggregates or method in refused
        ]
        counts = captions.span(one["iqm"].n for one in aggregates.values())
        caption = captions.sentence(
            f"Scores over {len(tracks)} datasets of {captions.domains(tracks)} "
            f"({captions.setting(tracks[0])})",
            f"n = {counts} training seeds on each dataset",
            f"± is half the {statistics.BOOTSTRAP}, {RESAMPLES} resamples; "
            f"{statistics.BOOTSTRAP_COVERAGE}",
            f"{NOT_RUN}: not every dataset was run completely with equally many seeds"
            if refused
            else "",
        )
        stem = f"aggregates_{len(tables) + 1}" if tables else "aggregates"
        title = f"Over {len(tracks)} datasets of {captions.domains(tracks)}"
        tables.append(Table(stem, title, caption, "algorithm", columns, rows, notes.by_letter()))
    return tables


def comparison_table(results: Results) -> list[Table]:
    """Return each dataset's methods tested against their base, corrected over the table."""
    differences = {}
    pairs = {
        (track, base.method, other.method): (
            base.values("return_mean"), other.values("return_mean")
        )
        for track, base, other in comparisons.pairs(results)
    }  # fmt: skip
    tested = statistics.mann_whitney_table(pairs)
    usable = [key for key, test in tested.items() if test.p is not None]
    if not usable:
        return []
    for key in usable:
        differences[key] = statistics.difference(*pairs[key])
    columns = [Head("difference"), Head("p"), Head("p (Holm)"), Head("seeds")]
    rows = [
        Row(
            f"{base.label} − {other.label}",
            [
                item(differences[track, base, other]),
                Item(tested[track, base, other].p, digits=4),
                Item(tested[track, base, other].p_corrected, digits=4),
                Item(words="{} / {}".format(*tested[track, base, other].n)),
            ],
            track.label,
            key=f"{base.key} − {other.key}",
        )
        for track, base, other in usable
    ]
    n, m = max((tested[key].n for key in usable), key=sum)
    smallest = statistics.smallest_p(n, m, len(usable))
    caption = captions.sentence(
        "Differences of final returns: ± is half the 95% Welch t interval",
        comparisons.rule(results),
        f"p: two-sided Mann-Whitney over seeds; Holm: corrected over {len(usable)} comparisons",
        f"The smallest corrected p within reach of {n} against {m} seeds is {smallest:.2g}",
    )
    return [Table("comparisons", "Pairwise tests", caption, "pair", columns, rows)]


def speed_table(results: Results) -> list[Table]:
    """Return scores at fractions of the budget and the updates needed to reach fixed scores."""
    columns = [Head(f"at {fraction:.0%}", "score", "up") for fraction in FRACTIONS]
    columns += [Head(f"score {target:.0f}", "updates until", "down") for target in TARGETS]
    columns += [Head(f"score {target:.0f}", "seconds until", "down") for target in TARGETS]
    rows, machine = [], next(iter(results.machine_classes), None)
    for track in results.tracks:
        for group in results.on(track):
            items = list(_speed(group, machine))
            if any(one.value is not None for one in items):
                rows.append(Row(group.method.label, items, track.label, key=group.method.key))
    if not rows:
        return []
    groups = [group for group in results.groups if group.estimate("score").n]
    caption = captions.sentence(
        f"Learning speed, {captions.seeds(groups)}: mean score of the evaluations during training "
        "at fractions of the budget, ± half the 95% Student t interval",
        "Updates and seconds of training until a score: median over seeds, a seed that never "
        "arrives counting as later than all others",
        captions.other_machines(results, machine or ""),
        captions.left_out(results.cells),
        f"Seconds are {captions.CLOCKS}",
        f"{NOT_RUN}: not reached by half of the seeds" if _absent(rows) else "",
    )
    return [
        Table(
            "learning_speed", "Learning speed", caption, "algorithm", columns, rows,
            widest=len(columns),
        )
    ]  # fmt: skip


def _speed(group: Group, machine: str | None) -> Iterable[Item]:
    """Yield scores at fractions of the budget, updates and seconds until the targets.

    Seconds are those of one class of machine and of runs with a clock of their own, or unknown.
    """
    curves, clocks = [], []
    for cell in group.cells:
        points = cell.points("score")
        if not cell.word and points:
            updates, scores = [point.update for point in points], [point.value for point in points]
            curves.append((updates, scores, cell.number("updates")))
            seconds = [point.seconds for point in points if point.seconds is not None]
            own = cell["machine_class"] == machine and not cell.excluded
            if own and len(seconds) == len(scores):
                clocks.append((seconds, scores))
    budgeted = [
        statistics.score_at_fractions(updates, scores, budget or updates[-1], FRACTIONS)
        for updates, scores, budget in curves
    ]
    for at in range(len(FRACTIONS)):
        yield item(statistics.summarise([scores[at] for scores in budgeted]))
    for digits, courses in ((0, [(x, y) for x, y, _ in curves]), (1, clocks)):
        for target in TARGETS:
            times = [statistics.time_to_score(x, y, target) for x, y in courses]
            yield Item(statistics.summarise_times(times).value, digits=digits, words=NOT_RUN)
