"""What one switch does: the score against each setting that several runs differ in alone.

A variant with a fixed switch (`om2p-jvp` beside `om2p`) counts as a configuration of its family.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports import captions, style
from reports.drawing import canvas
from reports.drawing.axes import better
from reports.figures.curves import AXES, measure
from reports.reading.results import Group, Results, Track
from reports.reading.runs import paper_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.17  # inches per value
LONGEST = 18  # characters of a value: every panel has a column of them


@dataclass(frozen=True)
class Ablation:
    """The groups of one algorithm on one track that differ in one setting only."""

    track: Track
    algorithm: str
    setting: str
    groups: tuple[tuple[str, Group], ...]


def find(results: Results) -> list[Ablation]:
    """Return every setting in which an algorithm's configurations on a track differ alone."""
    ablations = []
    for track in results.tracks:
        groups = [group for group in results.on(track) if group.estimate("return_mean").n]
        names = {group.method.algorithm for group in groups}
        families: dict[str, list[Group]] = defaultdict(list)
        for group in groups:
            families[_family(group.method.algorithm, names)].append(group)
        for algorithm, members in families.items():
            ablations += _of(track, algorithm, members)
    return ablations


def _family(name: str, names: set[str]) -> str:
    """Return the shortest name here that this one extends: om2p for om2p-jvp."""
    parts = name.split("-")
    heads = ("-".join(parts[:count]) for count in range(1, len(parts)))
    return next((head for head in heads if head in names), name)


def _of(track: Track, algorithm: str, groups: list[Group]) -> list[Ablation]:
    """Compare an algorithm's groups with its most used configuration, setting by setting."""
    base = groups[0].cells[0].settings
    versions = {group.cells[0]["algorithm_version"] for group in groups if _is(group, algorithm)}
    if len(groups) < 2 or len(versions) > 1:
        return []
    alone: dict[str, list[tuple[Any, Group]]] = defaultdict(list)
    for group in groups[1:]:
        settings = group.cells[0].settings
        if settings.keys() != base.keys() and not _is(group, algorithm):
            continue  # another method whose name begins alike
        differing = [key for key in {*base, *settings} if base.get(key) != settings.get(key)]
        if len(differing) == 1:
            alone[differing[0]].append((settings.get(differing[0]), group))
    return [
        Ablation(
            track, algorithm, key,
            tuple((str(v), group) for v, group in [(base.get(key), groups[0]), *_sorted(others)]),
        )
        for key, others in sorted(alone.items())
    ]  # fmt: skip


def _is(group: Group, algorithm: str) -> bool:
    return group.method.algorithm == algorithm


def _sorted(values: list[tuple[Any, Group]]) -> list[tuple[Any, Group]]:
    """Return values by size where all are numbers, else as they came."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v, _ in values)
    return sorted(values, key=lambda one: one[0]) if numbers else values


def draw(results: Results, folder: Path, kind: str) -> list[canvas.SavedFigure]:
    """Draw one figure per algorithm and track with a panel for each ablated setting."""
    together: dict[tuple[str, Track], list[Ablation]] = defaultdict(list)
    for one in find(results):
        together[one.algorithm, one.track].append(one)
    return [
        _figure(algorithm, track, ablations, folder, kind)
        for (algorithm, track), ablations in together.items()
    ]


def _figure(
    algorithm: str, track: Track, ablations: list[Ablation], folder: Path, kind: str
) -> canvas.SavedFigure:
    groups = [group for one in ablations for _, group in one.groups]
    column = measure(groups)
    values = [value for one in ablations for value, _ in one.groups]
    most = max(len(one.groups) for one in ablations)
    room = canvas.label_room(values, LONGEST)
    figure, axes = canvas.panels(
        [one.setting.rpartition(".")[2] for one in ablations], [],
        height=max(0.6, ROW * most + 0.15), left=room,
        first_left=max(0.0, room - 0.17), legend="none",
    )  # fmt: skip
    for axis, one in zip(axes, ablations, strict=True):
        _panel(axis, one, column, kind)
    canvas.outer_labels(axes, better(AXES[column]), "")
    caption = captions.brief(
        f"{captions.seeds(groups)}; the first row is the configuration with most runs",
        captions.interval("bars", kind, groups),
    )
    name = f"ablation_{style.slug(algorithm)}_{style.slug(track.label)}"
    title = f"{paper_name(algorithm)} on {track.label}: one setting at a time"
    return canvas.save(figure, folder, name, "Ablations", title, caption)


def _panel(axis: "Axes", one: Ablation, column: str, kind: str) -> None:
    from matplotlib.ticker import MaxNLocator

    look = canvas.point(one.groups[0][1].method)
    for row, (_, group) in enumerate(one.groups):
        canvas.seeds(axis, row + 0.22, group.values(column), look["color"])
        canvas.interval(axis, row, group.estimate(column, kind), look)
    canvas.rows(axis, [value for value, _ in one.groups], labelled=True, longest=LONGEST)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
