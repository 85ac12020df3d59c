"""The leaderboard of the page: a row per method and dataset, with a small picture of its seeds."""

from dataclasses import replace

from markupsafe import Markup

from bench.results import columns, statistics
from bench.results.columns import Column
from reports import captions
from reports.page.shown import Head, Item, Leaderboard, LeaderboardRow
from reports.reading.results import Group, Results
from reports.reading.runs import typical

WIDTH, HEIGHT, MARGIN = 132, 22, 4


def build(results: Results, kind: str) -> Leaderboard:
    """Return heads and rows of the leaderboard; sorting uses each item's `sort`.

    A column of numbers that no row has is left out.
    """
    costs = {
        name: column
        for name, column in columns.shown_in(columns.LEADERBOARD).items()
        if column.section != columns.RESULT
    }
    heads = [
        ("Algorithm", False), ("Dataset", False), ("Score", True), ("Seeds", False),
        ("Return", True), ("n", True), ("Best seen", True),
        *((column.title[0].upper() + column.title[1:], True) for column in costs.values()),
    ]  # fmt: skip
    reach, machine = _reach(results), next(iter(results.machine_classes), None)
    rows = [
        _row(group, kind, reach, machine, costs)
        for track in results.tracks
        for group in sorted(
            results.on(track), key=lambda group: -(group.estimate("score").value or float("-inf"))
        )
    ]
    empty = [
        at for at, (_, number) in enumerate(heads)
        if number and not any(row.cells[at].text for row in rows)
    ]  # fmt: skip
    return Leaderboard(
        [Head(name, number) for at, (name, number) in enumerate(heads) if at not in empty],
        [
            replace(row, cells=[one for at, one in enumerate(row.cells) if at not in empty])
            for row in rows
        ],
        [(one.label, one.meaning) for one in results.methods if one.meaning],
        list(results.by_task()),
        list(dict.fromkeys(track.quality for track in results.tracks)),
    )


def caption(results: Results, kind: str) -> str:
    """Return the words above the leaderboard."""
    return captions.sentence(
        f"Last checkpoint; ± is half the {statistics.KINDS[kind]}"
        if kind == "ci95"
        else f"Last checkpoint; ± is the {statistics.KINDS[kind]}",
        "Seeds: a dot each, bar the interval, dashed lines at 0 (random) and 100 (expert)",
        "Best seen is the best evaluation during training, optimistic by construction: no result",
        captions.trials(results.groups),
        "Times, memory and counts are medians over seeds; steps are those from noise to action",
        captions.other_machines(results, next(iter(results.machine_classes), "")),
        captions.left_out(results.cells),
    )


def _reach(results: Results) -> tuple[float, float]:
    """Return the range of scores that the pictures of all rows share."""
    seen = [
        value for group in results.groups for value in group.values("score") if value is not None
    ]
    return min([0.0, *seen]), max([100.0, *seen])


def _row(
    group: Group,
    kind: str,
    reach: tuple[float, float],
    machine: str | None,
    costs: dict[str, Column],
) -> LeaderboardRow:
    score, value = group.estimate("score", kind), group.estimate("return_mean", kind)
    best = group.estimate("best_score")
    here = [cell for cell in group.cells if cell["machine_class"] == machine]
    note = group.trouble or (group.word if not value.n else "")
    cells = [
        Item(group.method.label),
        Item(group.track.label),
        replace(_estimate(score, value.n), note=note),
        Item("", _sort(score.value), picture=_strip(group, score, reach)),
        _estimate(value, value.n),
        _number(float(value.n), 0),
        _number(best.value, 1),
        *(
            _cost(typical(here if column.timed else group.cells, name), column)
            for name, column in costs.items()
        ),
    ]
    colour = group.method.style.colour
    return LeaderboardRow(group.track.task, group.track.quality, group.method.key, colour, cells)


def _number(value: float | None, digits: int) -> Item:
    return Item("" if value is None else f"{value:,.{digits}f}", _sort(value), number=True)


def _estimate(estimate: statistics.Estimate, n: int) -> Item:
    if estimate.value is None:
        return Item("" if n else "none", "", number=True)
    half = "" if estimate.half_width is None else f" ± {estimate.half_width:.1f}"
    return Item(f"{estimate.value:.1f}{half}", _sort(estimate.value), number=True)


def _sort(value: float | None) -> str:
    return "" if value is None else repr(value)


def _cost(value: float | None, column: Column) -> Item:
    return _number(None if value is None else value / column.scale, column.digits)


def _strip(group: Group, score: statistics.Estimate, reach: tuple[float, float]) -> Markup:
    """Return the seeds of one row as a small picture; numbers only, hence nothing to escape."""
    seeds = [value for value in group.values("score") if value is not None]
    if not seeds:
        return Markup("")
    low, high = reach

    def x(value: float) -> str:
        share = (min(max(value, low), high) - low) / (high - low)
        return f"{MARGIN + share * (WIDTH - 2 * MARGIN):.1f}"

    colour, middle = group.method.style.colour, HEIGHT // 2
    parts = [f'<path class="axis" d="M{MARGIN} {middle}H{WIDTH - MARGIN}"/>']
    parts += [f'<path class="mark" d="M{x(at)} 3V{HEIGHT - 3}"/>' for at in (0.0, 100.0)]
    if score.low is not None and score.high is not None:
        bar = f"M{x(score.low)} {middle}H{x(score.high)}"
        parts.append(f'<path d="{bar}" stroke="{colour}" stroke-width="6" opacity=".3"/>')
    dots = "".join(f'<circle cx="{x(value)}" cy="{middle}" r="2.4"/>' for value in seeds)
    parts.append(f'<g fill="{colour}" stroke="#8886" stroke-width=".7">{dots}</g>')
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true"'
    return Markup(f'<svg class="strip" {box}>{"".join(parts)}</svg>')
