"""Tables of what teams keep under perturbations: per level, over grids, ranks, the worst ones."""

from bench.results import statistics
from reports import captions
from reports.reading import stress
from reports.reading.results import Results
from reports.reading.stress import Curve, Stressed
from reports.style import slug
from reports.tables.model import NOT_RUN, Head, Item, Row, Table, item

PREFIX = "robustness"  # of the files' names


def build(results: Results, kind: str) -> list[Table]:
    """Return the tables of every dataset that was stressed."""
    tables = []
    for one in stress.stressed(results):
        tables += [*_levels(one, kind), *_grids(one, kind), *_ranks(one), _worst(one, kind)]
    return [*tables, *_sensitivity(results, kind)]


def _levels(one: Stressed, kind: str) -> list[Table]:
    """Return scores at each level, the area under the curve, and what is lost."""
    columns = [Head(f"level {at}", better="up") for at in range(stress.LONGEST + 1)]
    columns += [Head("area", better="up"), Head("lost", better="down")]
    rows = [
        Row(
            curve.method.label,
            _level_items(curve, kind),
            f"{name} ({_values(curve)})",
            key=curve.method.key,
        )
        for name, curves in one.curves.items()
        for curve in curves
        if not curve.grid
    ]
    if not rows:
        return []
    seeds = captions.span(len(curve.runs) for some in one.curves.values() for curve in some)
    caption = captions.sentence(
        f"{one.column.capitalize()} on {one.track.label} at each level of a perturbation; level 0 "
        f"is undisturbed: mean over n = {seeds} training seeds, the same start states everywhere",
        f"±: {statistics.KINDS[kind]}",
        "Area: the mean over levels by the trapezoidal rule. Lost: level 0 minus area, of each "
        "seed with itself",
        "In brackets: the values of levels 1, 2 ..., and their unit",
    )
    title = f"{one.track.label}: {one.column} under perturbations"
    return [
        Table(
            f"{PREFIX}_{slug(one.track.label)}", title, caption, "algorithm", columns, rows,
            widest=len(columns),
        )
    ]  # fmt: skip


def _level_items(curve: Curve, kind: str) -> list[Item]:
    items = [item(estimate) for estimate in curve.scores(kind)]
    items += [Item(words=NOT_RUN)] * (stress.LONGEST + 1 - len(items))
    return [*items, item(statistics.summarise(curve.areas(), kind)), item(curve.lost(kind))]


def _values(curve: Curve) -> str:
    values = ", ".join("half" if v >= 1e6 else f"{v:g}" for v in curve.values[1:])
    return f"{values} {curve.unit}"


def _grids(one: Stressed, kind: str) -> list[Table]:
    """Return mean and worst case over the values of a grid, as RRLS reports them."""
    rows = []
    for name, curves in one.curves.items():
        for curve in curves:
            if not curve.grid:
                continue
            tried = [[v for v in run[1:] if v is not None] for run in curve.runs]
            calm = [run[0] for run in curve.runs]
            mean = [sum(values) / len(values) for values in tried]
            worst = [min(values) for values in tried]
            items = [item(statistics.summarise(seeds, kind)) for seeds in (calm, mean, worst)]
            rows.append(
                Row(curve.method.label, items, f"{name} ({_values(curve)})", key=curve.method.key)
            )
    if not rows:
        return []
    columns = [Head(head, better="up") for head in ("undisturbed", "mean", "worst")]
    caption = captions.sentence(
        f"{one.column.capitalize()} on {one.track.label} over a grid of values (in brackets): "
        "undisturbed, the mean over the grid and its worst value",
        f"±: {statistics.KINDS[kind]}",
    )
    title = f"{one.track.label}: {one.column} over grids of dynamics"
    stem = f"{PREFIX}_grid_{slug(one.track.label)}"
    return [Table(stem, title, caption, "algorithm", columns, rows)]


def _ranks(one: Stressed) -> list[Table]:
    """Return places undisturbed and by area, with Kendall's tau; none below three methods."""
    if len(one.methods) < 3:
        return []
    placed = stress.ranking(one)
    columns = [Head(method.label, key=method.key) for method in one.methods] + [Head("tau")]
    rows = []
    for name, place in placed.items():
        items = [
            Item(place[method], digits=0) if method in place else Item(words=NOT_RUN)
            for method in one.methods
        ]
        tau = stress.kendall(placed[""], place) if name else None
        rows.append(Row(name or "undisturbed", [*items, Item(tau, digits=2, words=NOT_RUN)]))
    caption = captions.sentence(
        f"Places on {one.track.label}, undisturbed and by the area under the curve of each "
        "perturbation",
        "tau: Kendall's, of a row's places with the undisturbed ones, over the methods of both",
    )
    title = f"{one.track.label}: rank against rank"
    stem = f"{PREFIX}_ranks_{slug(one.track.label)}"
    return [Table(stem, title, caption, "perturbation", columns, rows, widest=max(6, len(columns)))]


def _worst(one: Stressed, kind: str) -> Table:
    """Return for every method the perturbation that leaves it least, and its share kept."""
    columns = [Head("loses most to"), Head("area"), Head("lost", better="down"), Head("kept (%)")]
    rows = []
    for method in one.methods:
        curve = stress.worst(one, method)
        if curve is None:
            continue
        kept = curve.kept()
        rows.append(
            Row(
                method.label,
                [
                    Item(words=curve.name),
                    item(statistics.summarise(curve.areas(), kind)),
                    item(curve.lost(kind)),
                    Item(None if kept is None else 100 * kept, words=NOT_RUN),
                ],
                key=method.key,
            )
        )
    caption = captions.sentence(
        f"The perturbation that costs each method most on {one.track.label}, by the area under its "
        "curve",
        f"±: {statistics.KINDS[kind]}",
        "Kept: area as a share of the undisturbed score",
    )
    title = f"{one.track.label}: the strongest perturbation of each method"
    return Table(
        f"{PREFIX}_worst_{slug(one.track.label)}", title, caption, "algorithm", columns, rows
    )


def _sensitivity(results: Results, kind: str) -> list[Table]:
    """Return how far scores fall where the data have other rewards."""
    measured = stress.sensitivities(results, kind)
    if not measured:
        return []
    columns = [Head("true", better="up")]
    columns += [Head(view.removeprefix("reward-"), "true minus") for view in stress.REWARD_VIEWS]
    columns += [Head("mean", "true minus")]
    missing = Item(words=NOT_RUN)
    rows = [
        Row(
            row.method.label,
            [
                item(row.true),
                *(
                    item(row.falls[view]) if view in row.falls else missing
                    for view in stress.REWARD_VIEWS
                ),
                item(row.mean),
            ],
            row.track.label,
            key=row.method.key,
        )
        for row in measured
    ]
    caption = captions.sentence(
        "Sensitivity to reward: the score with the true rewards, and by how much it exceeds that "
        "of the same seed trained on the same data with zero, shuffled or negated rewards",
        f"±: {statistics.KINDS[kind]}",
        "A mean near zero means that a method is insensitive to reward, as the survival instinct "
        "of offline learning has it (NeurIPS 2023)",
    )
    stem = f"{PREFIX}_rewards"
    return [
        Table(
            stem, "Sensitivity to reward", caption, "algorithm", columns, rows, widest=len(columns)
        )
    ]
