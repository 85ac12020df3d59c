"""What it cost: time, memory and counts per task and algorithm, one class of machine each."""

from collections.abc import Iterable
from dataclasses import replace

from bench.results import columns
from bench.results.columns import Column
from reports import captions
from reports.reading.results import Cell, Method, Results
from reports.reading.runs import typical
from reports.tables.model import NOT_RUN, Head, Item, Row, Table

FLOPS = ((1e12, "TFLOPs"), (1e9, "GFLOPs"), (1e6, "MFLOPs"), (1e3, "kFLOPs"))
TITLES = {
    columns.EFFICIENCY: "Efficiency",
    columns.COUNTS: "What an update and an action consist of",
}


def build(results: Results) -> list[Table]:
    """Return what was timed and what was counted, per class of machine, that of most runs first."""
    return [
        _table(results, place, at, machine)
        for place in TITLES
        for at, machine in enumerate(results.machine_classes, start=1)
        if place == columns.EFFICIENCY or at == 1  # counts are the same on all of them
    ]


def _table(results: Results, place: str, at: int, machine: str) -> Table:
    """Return the table of one place, with the columns that some run recorded."""
    counted = place == columns.COUNTS
    cells = [
        cell
        for cell in results.cells
        if not cell.word and (counted or cell["machine_class"] == machine)
    ]
    used = dict(_used(place, cells))
    sets = _sets(results, cells)
    rows = [
        Row(
            method.label,
            [_item(here, name, column) for name, column in used.items()],
            head,
            key=method.key,
        )
        for head, method, here in sets
    ]
    runs = captions.spanned((len(here) for _, _, here in sets), "run")
    notes = dict.fromkeys(column.note for column in used.values())
    timed = any(column.timed for column in used.values())
    caption = captions.sentence(
        f"{_subject(place)}: medians over {runs} of each algorithm and task",
        "" if counted else f"Class of machine: {machine}",
        *notes,
        *([captions.left_out(cells), f"Times are {captions.CLOCKS}"] if timed else []),
    )
    mark = "" if at == 1 else f"_machine{at}"
    title = TITLES[place] if at == 1 else f"{TITLES[place]} on another machine ({at})"
    heads = [Head(column.head, column.section, column.better) for column in used.values()]
    return Table(f"{place}{mark}", title, caption, "algorithm", heads, rows)


def _subject(place: str) -> str:
    if place == columns.COUNTS:
        return "Tensors at the peak of an update by what they are for, and counts"
    return "What training and acting cost"


def _used(place: str, cells: list[Cell]) -> Iterable[tuple[str, Column]]:
    """Yield the columns that some run recorded, FLOPs in the largest unit that fits them all."""
    for name, column in columns.shown_in(place).items():
        known = [value for cell in cells if (value := cell.number(name)) is not None]
        if known and column.unit == "FLOPs":
            fitting = [unit for size, unit in FLOPS if min(known) >= size / 10] or [FLOPS[-1][1]]
            yield name, replace(column, label=fitting[0], unit=fitting[0])
        elif known:
            yield name, column


def _sets(results: Results, cells: list[Cell]) -> list[tuple[str, Method, list[Cell]]]:
    """Return the cells of each task and method, over all qualities of data."""
    chosen = {cell["cell"] for cell in cells}
    presets = {track.key[2] for track in results.tracks}
    by_head: dict[str, dict[Method, list[Cell]]] = {}
    for track in results.tracks:
        head = f"{track.task} ({track.key[2]})" if len(presets) > 1 else track.task
        for group in results.on(track):
            here = [cell for cell in group.cells if cell["cell"] in chosen]
            if here:
                by_head.setdefault(head, {}).setdefault(group.method, []).extend(here)
    return [
        (head, method, by_method[method])
        for head, by_method in by_head.items()
        for method in results.methods
        if method in by_method
    ]


def _item(cells: list[Cell], name: str, column: Column) -> Item:
    value = typical(cells, name)
    scale = {unit: size for size, unit in FLOPS}.get(column.unit, column.scale)
    return Item(None if value is None else value / scale, digits=column.digits, words=NOT_RUN)
