"""The answer in short, for a README: a sentence per kind of data, one table, one figure."""

from collections.abc import Sequence

from bench.results import statistics
from reports import captions
from reports.drawing.canvas import SavedFigure
from reports.findings import kinds
from reports.reading.measurements import Measured
from reports.reading.results import Method, Results, Track
from reports.reading.runs import typical
from reports.site import summaries
from reports.site.markdown import picture
from reports.tables import text
from reports.tables.model import NOT_RUN, Head, Item, Row, Table

AGENTS, BATCH = 3, 256  # of mpe/spread and of the presets
SENTENCES = 4  # kinds of data that are named
FIGURES = ("pareto_latency_", "pareto_update_memory_", "pareto_", "scores_")  # the first there is
COSTS = {  # column: head, digits, and what a value is divided by
    "ms_per_update": ("update, ms", 1, 1.0),
    "peak_tensor_bytes": ("update, MB", 1, 1e6),
    "latency_p50_ms": ("action, ms", 2, 1.0),
}


def markdown(results: Results, figures: Sequence[SavedFigure], uncertainty: str) -> str:
    """Return the answer as Markdown; the figure is the file of the folder `figures` beside it."""
    said = [kinds.sentence(kind).translate(text.MARKDOWN) for kind in kinds.kinds(results)]
    lines = [" ".join(said[:SENTENCES]), "", text.as_markdown(table(results, uncertainty))]
    fitting = (one for start in FIGURES for one in figures if one.name.startswith(start))
    figure = next(fitting, None)
    if figure is not None:
        caption = f"**{figure.title}.** {figure.caption.translate(text.MARKDOWN)}"
        lines += [picture(figure.title, figure.name, "figures/"), "", caption, ""]
    return "\n".join(lines)


def table(results: Results, uncertainty: str) -> Table:
    """Return the scores of all methods on the plain datasets, and what they cost where measured."""
    tracks = [
        track for track in results.tracks if "@" not in track.dataset and _ended(results, track)
    ]
    methods = sorted(
        {
            group.method.key: group.method for track in tracks for group in results.on(track)
        }.values(),
        key=lambda method: _order(results, method, tracks),
    )
    columns = [Head(track.quality, track.task, "up") for track in tracks]
    costs = _costs(results)
    columns += [Head("steps", better="down")]
    columns += [Head(name, better="down") for name, _, _ in COSTS.values() if costs]
    best = {track: _level(results, track) for track in tracks}
    rows = [
        Row(
            method.label,
            [
                summaries.score(
                    results, method, track, uncertainty, bold=method.label in best[track]
                )
                for track in tracks
            ]
            + [_steps(results, method)]
            + [_cost(costs.get(method.algorithm), column) for column in COSTS if costs],
            key=method.key,
        )
        for method in methods
    ]
    groups = [group for track in tracks for group in results.on(track)]
    caption = captions.sentence(
        "Score of the last checkpoint: 0 is a team that acts at random, 100 the expert data",
        f"{captions.seeds(groups)}, {captions.episodes(groups)}; "
        + captions.interval("±", uncertainty, groups),
        "Bold: not distinguishable from the best on that data (Welch's t-test)",
        "Steps: network evaluations from noise to an action"
        + ("; costs: medians of rounds in which the algorithms take turns" if costs else ""),
    )
    return Table("short", "Scores and costs", caption, "method", columns, rows, widest=len(columns))


def _ended(results: Results, track: Track) -> bool:
    return any(group.estimate("score").n for group in results.on(track))


def _order(results: Results, method: Method, tracks: list[Track]) -> tuple[int, float]:
    """Return what sorts methods: those with most datasets first, then by the mean score."""
    groups = (results.group(method, track) for track in tracks)
    scores = [group.estimate("score").value for group in groups if group is not None]
    known = [score for score in scores if score is not None]
    return (-len(known), -sum(known) / max(len(known), 1))


def _level(results: Results, track: Track) -> set[str]:
    """Return the labels of methods that are not distinguishable from the best on a track."""
    samples = {group.method.label: group.values("score") for group in results.on(track)}
    return set(statistics.not_distinguishable_from_best(samples)[0])


def _costs(results: Results) -> dict[str, Measured]:
    """Return by algorithm what was measured at one size: that of the file with most algorithms."""
    files = [
        {one.algorithm: one for one in file if (one.agents, one.batch) == (AGENTS, BATCH)}
        for file in results.measured
    ]
    return max(files, key=len, default={})


def _steps(results: Results, method: Method) -> Item:
    groups = (group for track in results.tracks for group in results.on(track))
    cells = [cell for group in groups if group.method == method for cell in group.cells]
    steps = typical(cells, "sampling_steps")
    return Item(words=NOT_RUN) if steps is None else Item(steps, digits=0)


def _cost(measured: Measured | None, column: str) -> Item:
    _, digits, unit = COSTS[column]
    value = None if measured is None else measured.values.get(column)
    return Item(words=NOT_RUN) if value is None else Item(value / unit, digits=digits)
