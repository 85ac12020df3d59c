"""What it cost: time, memory, steps and size per task and algorithm, one class of machine each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median

from reports import captions
from reports.reading.results import Cell, Entry, Results
from reports.tables.model import NOT_RUN, Column, Item, Row, Table

MIB, KILO = 2.0**20, 1e3
FLOPS = ((1e12, "TFLOPs"), (1e9, "GFLOPs"), (1e6, "MFLOPs"), (1e3, "kFLOPs"))


@dataclass(frozen=True)
class Meter:
    """One column of the table: where it lies, its head with unit, and how it is printed."""

    column: str
    head: str
    group: str
    scale: float = 1.0
    digits: int = 1
    better: str = "down"


METERS = (
    Meter("seconds_train", "train (s)", "time"),
    Meter("ms_per_update", "update (ms)", "time", digits=2),
    Meter("cpu_seconds_train", "CPU (s)", "time"),
    Meter("peak_rss_bytes", "process (MiB)", "peak memory", MIB, 0),
    Meter("torch_peak_allocated_bytes", "allocated (MiB)", "peak memory", MIB),
    Meter("torch_peak_reserved_bytes", "reserved (MiB)", "peak memory", MIB),
    Meter("nvml_bytes", "NVML (MiB)", "peak memory", MIB, 0),
    Meter("peak_tensor_bytes", "tensors (MiB)", "one update", MIB, 2),
    Meter("flops_update", "FLOPs", "one update", digits=2),
    Meter("sampling_steps", "steps", "one action", digits=0),
    Meter("latency_p50_ms", "median (ms)", "one action", digits=2),
    Meter("latency_p95_ms", "95% (ms)", "one action", digits=2),
    Meter("flops_act", "FLOPs", "one action", digits=2),
    Meter("parameters_act", "parameters (k)", "one action", KILO),
)


def build(results: Results) -> list[Table]:
    """Return one table per class of machine, the one with most runs first."""
    tables = []
    for at, machine in enumerate(results.machine_classes, start=1):
        cells = [
            cell for cell in results.cells if not cell.word and cell["machine_class"] == machine
        ]
        used = list(_used(cells))
        sets = _sets(results, cells)
        rows = [
            Row(entry.label, [_item(here, meter) for meter in used], head)
            for head, entry, here in sets
        ]
        counts = captions.span(len(here) for _, _, here in sets)
        caption = captions.sentence(
            f"What training and acting cost: medians over {counts} runs of each algorithm and task",
            f"Class of machine: {machine}",
            "Process is the peak resident set with all libraries; tensors, FLOPs and parameters "
            "are counted, not timed, and repeat exactly",
            "NVML values are sampled and hence lower bounds"
            if any(meter.column == "nvml_bytes" for meter in used)
            else "",
            "One action: a joint action for one observation per agent, timed before training"
            if any(meter.column == "latency_p50_ms" for meter in used)
            else "",
            captions.left_out(cells),
            captions.TIMING,
            "No interval is given and nothing is bold: these are medians, not tests",
        )
        stem = "efficiency" if at == 1 else f"efficiency_machine{at}"
        title = "Efficiency" if at == 1 else f"Efficiency on another machine ({at})"
        columns = [Column(meter.head, meter.group, meter.better) for meter in used]
        tables.append(Table(stem, title, caption, "algorithm", columns, rows))
    return tables


def _used(cells: list[Cell]) -> Iterable[Meter]:
    """Yield the meters that some run recorded, FLOPs in the largest unit that fits them all."""
    for meter in METERS:
        known = [value for cell in cells if (value := cell.number(meter.column)) is not None]
        if known and meter.head == "FLOPs":
            fitting = [unit for unit in FLOPS if min(known) >= unit[0] / 10] or [FLOPS[-1]]
            yield replace(meter, scale=fitting[0][0], head=fitting[0][1])
        elif known:
            yield meter


def _sets(results: Results, cells: list[Cell]) -> list[tuple[str, Entry, list[Cell]]]:
    """Return the cells of each task and entry, over all qualities of data."""
    chosen = {cell["cell"] for cell in cells}
    presets = {track.key[2] for track in results.tracks}
    found: dict[str, dict[Entry, list[Cell]]] = {}
    for track in results.tracks:
        head = f"{track.task} ({track.key[2]})" if len(presets) > 1 else track.task
        for group in results.on(track):
            here = [cell for cell in group.cells if cell["cell"] in chosen]
            if here:
                found.setdefault(head, {}).setdefault(group.entry, []).extend(here)
    return [
        (head, entry, by_entry[entry])
        for head, by_entry in found.items()
        for entry in results.entries
        if entry in by_entry
    ]


def _item(cells: list[Cell], meter: Meter) -> Item:
    known = [value for cell in cells if (value := cell.number(meter.column)) is not None]
    value = median(known) / meter.scale if known else None
    return Item(value, digits=meter.digits, words=NOT_RUN)
