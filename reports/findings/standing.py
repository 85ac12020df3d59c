"""Where methods of one's own would stand among results of others, dataset by dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.results.statistics import Estimate
from reports import captions
from reports.findings import ranking
from reports.findings.ranking import Ranking
from reports.reading import answer, results
from reports.reading.choosing.selection import Selection
from reports.reading.results import Group, Results, Track


@dataclass(frozen=True)
class Rival:
    """A method of others on one dataset, and the probability that mine beats it."""

    group: Group
    estimate: Estimate
    improvement: Estimate | None
    level: bool  # whether the Welch interval of the difference to mine contains 0


@dataclass(frozen=True)
class Standing:
    """Where one method of one's own stands on one dataset."""

    mine: Group
    column: str
    place: int  # one plus the number of methods that are better
    by_mean: int  # its place by the mean alone
    estimate: Estimate
    rivals: list[Rival]
    notes: list[str]


@dataclass(frozen=True)
class Comparison:
    """All standings, their averages over datasets, and what could not be compared."""

    standings: list[Standing]
    overall: dict[str, dict[str, tuple[Estimate, int]]]  # mine, rival: P(mine is better), datasets
    notes: list[str] = field(default_factory=list)


def compare(
    out: Path, others: str, algorithms: Sequence[str], datasets: Sequence[str] = ()
) -> Comparison:
    """Rank methods of the results `out` among results of others.

    others: a results folder, a table, or "reference". Raises BenchError where nothing can be
    compared: the rows do not fit, or were trained with another preset.
    """
    alone = results.read(out, selection=Selection(tuple(algorithms), tuple(datasets)))
    cells = {cell["cell"] for cell in alone.cells}
    read = results.read(out, cells, Selection((), tuple(datasets), None, (others,)))
    standings, apart = [], []
    for track in read.tracks:
        groups = [group for group in read.on(track) if group.estimate("return_mean").n]
        mine = [group for group in groups if not group.cells[0].source]
        theirs = [group for group in groups if group.cells[0].source]
        ranked = ranking.rank(read, track)
        if mine and not theirs:
            apart.append(_apart(read, track))
        elif mine and ranked is not None:
            standings += [_standing(ranked, group, theirs) for group in mine]
    if not standings:
        why = "; ".join(apart) or f"no run of {', '.join(algorithms)} has a result"
        raise BenchError(f"nothing can be ranked: {why}")
    source = read.sources[0]
    notes = [*source.refused, *apart, *filter(None, [answer.meaningless(read)])]
    return Comparison(standings, _overall(standings), notes)


def _apart(read: Results, track: Track) -> str:
    """Say why no rows of others stand beside mine on a track."""
    presets = sorted(
        {
            str(cell["preset"])
            for cell in read.cells
            if cell.source and cell["dataset"] == track.dataset
        }
    )
    own = track.key[2]
    if presets and own not in presets:
        return (
            f"{track.label} was trained with the preset {own}, the others with "
            f"{' or '.join(presets)}: train with --preset {presets[0]}"
        )
    return f"the others have no row with a result that fits {track.label}"


def _standing(ranked: Ranking, mine: Group, theirs: list[Group]) -> Standing:
    """Return the standing of one group of mine among theirs alone, other own groups left out."""
    column = ranked.column
    own = mine.estimate(column)
    rivals = [_rival(ranked, mine, group) for group in theirs]
    rivals.sort(key=lambda rival: -(rival.estimate.value or 0.0))
    better = [rival for rival in rivals if not rival.level and _above(rival.estimate, own)]
    above = [rival for rival in rivals if _above(rival.estimate, own)]
    notes = [ranked.note] if ranked.note else []
    updates = sorted({int(n) for g in theirs for c in g.cells if (n := c.number("updates"))})
    made = sorted({int(n) for c in mine.cells if (n := c.number("updates"))})
    if set(made) != set(updates):
        notes.append(
            f"{mine.method.key} had {_counts(made)} updates, the others {_counts(updates)}"
        )
    return Standing(mine, column, 1 + len(better), 1 + len(above), own, rivals, notes)


def _rival(ranked: Ranking, mine: Group, group: Group) -> Rival:
    column = ranked.column
    label = ranked.track.label
    level = not (ranking.is_better(mine, group, column) or ranking.is_better(group, mine, column))
    chance = ranking.improvement({label: (mine, group)}, column)
    return Rival(group, group.estimate(column), chance, level)


def _above(one: Estimate, other: Estimate) -> bool:
    return one.value is not None and other.value is not None and one.value > other.value


def _counts(numbers: list[int]) -> str:
    return " or ".join(captions.thousands(number) for number in numbers) or "an unknown number of"


def _overall(standings: list[Standing]) -> dict[str, dict[str, tuple[Estimate, int]]]:
    """Average the probabilities over the datasets that mine and a rival share, if several."""
    pairs: dict[tuple[str, str, str], dict[str, tuple[Group, Group]]] = {}
    for one in standings:
        for rival in one.rivals:
            key = (one.mine.method.key, rival.group.method.key, one.column)
            pairs.setdefault(key, {})[one.mine.track.label] = (one.mine, rival.group)
    averages: dict[str, dict[str, tuple[Estimate, int]]] = {}
    for (mine, rival_label, column), by_track in pairs.items():
        chance = ranking.improvement(by_track, column) if len(by_track) > 1 else None
        if chance is not None:
            averages.setdefault(mine, {})[rival_label] = (chance, len(by_track))
    return averages


def lines(comparison: Comparison) -> list[str]:
    """Return the comparison as lines of a terminal."""
    said: list[str] = []
    for one in comparison.standings:
        said += [*_dataset(one), ""]
    for mine, rivals in comparison.overall.items():
        said.append(f"{mine} over datasets, which count equally:")
        said += [
            f"  probability that {mine} beats {label}: {_chance(chance)} ({count} datasets)"
            for label, (chance, count) in rivals.items()
        ]
        said.append("")
    return [*said, *comparison.notes]


def _dataset(one: Standing) -> list[str]:
    """Return the lines of one dataset: the sentence, then a row per method."""
    label, total = one.mine.method.key, len(one.rivals) + 1
    level = [rival.group.method.key for rival in one.rivals if rival.level]
    ties = f", level with {', '.join(level)}" if level else ""
    what = "score" if one.column == "score" else "return"
    head = (
        f"{one.mine.track.label}: {label} would be number {one.place} of {total}{ties} "
        f"(number {one.by_mean} by its mean {what})"
    )
    rows: list[tuple[str, str, str]] = [
        (rival.group.method.key, _number(rival.estimate), _chance(rival.improvement))
        for rival in one.rivals
    ]
    rows.insert(one.by_mean - 1, (label, _number(one.estimate), "this method"))
    heads = ("method", what, f"P({label} is better)")
    widths = [max(len(row[at]) for row in [heads, *rows]) for at in range(3)]
    table = [
        "  "
        + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *rows]
    ]
    return [head, *table, *(f"  {note}" for note in one.notes)]


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _number(estimate: Estimate) -> str:
    half = "" if estimate.half_width is None else f" ± {estimate.half_width:.1f}"
    return f"{estimate.value:.1f}{half} (n = {estimate.n})"


def _chance(chance: Estimate | None) -> str:
    if chance is None or chance.value is None:
        return "unknown: some run has no result"
    if chance.low is None or chance.high is None:
        return f"{chance.value:.2f}, no interval with one seed"
    return f"{chance.value:.2f} [{chance.low:.2f}, {chance.high:.2f}]"


def rows(comparison: Comparison) -> list[dict[str, object]]:
    """Return the comparison as plain rows, one per dataset and rival."""
    return [
        {
            "dataset": one.mine.track.label, "method": one.mine.method.key, "place": one.place,
            "place_by_mean": one.by_mean, "of": len(one.rivals) + 1, "measure": one.column,
            "value": one.estimate.value, "low": one.estimate.low, "high": one.estimate.high,
            "rival": rival.group.method.key, "rival_value": rival.estimate.value,
            "rival_low": rival.estimate.low, "rival_high": rival.estimate.high,
            "level": rival.level,
            "probability": rival.improvement and rival.improvement.value,
            "probability_low": rival.improvement and rival.improvement.low,
            "probability_high": rival.improvement and rival.improvement.high,
        }
        for one in comparison.standings
        for rival in one.rivals
    ]  # fmt: skip
