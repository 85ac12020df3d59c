"""Read and check benchmark files, as pytest-benchmark and `bench.gate.plugin` write them.

A side of a comparison is one or more files, each from one fresh process. A baseline is a file of
the same form that holds versions and exact costs only.
"""

import dataclasses
import glob
import importlib.metadata
import json
import math
import platform
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.outside import Json
from bench.results import store
from bench.results.section import value_at

SCHEMA = 1
LIMIT = 64 * 2**20  # bytes; benchmark files are far smaller
MOST_BENCHMARKS = 10_000
TEXT_LIMIT = 1000  # characters of a name or a reason
LARGEST = 2**63
PREFIX = "costs-"  # of baseline files


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One benchmark of one process: its version, its exact costs, and its two times."""

    version: str | None
    costs: dict[str, int]
    seconds: float | None  # median over rounds
    calibration: float | None  # seconds of the calibration workload beside it


@dataclasses.dataclass(frozen=True)
class Process:
    """One file: what a fresh process measured, and what failed or was skipped."""

    path: str
    began: str  # ISO time
    machine_class: str | None
    costs_key: str | None  # what exact costs may depend on
    benchmarks: dict[str, Benchmark]
    listed: dict[str, str]  # every collected benchmark with its version
    failed: dict[str, str]
    skipped: dict[str, str]
    accepted: frozenset[str]  # deliberate changes that this tree already records


def costs_key() -> str:
    """Return what exact costs may depend on here: system, torch and Python version."""
    torch = importlib.metadata.version("torch").partition("+")[0]
    python = ".".join(platform.python_version_tuple()[:2])
    system = f"{platform.system()}-{platform.machine()}".lower()
    return f"{system}-torch-{torch}-python-{python}"


def baseline_file(folder: Path, key: str) -> Path:
    """Return the path of the baseline for a key."""
    return folder / f"{PREFIX}{key}.json"


def is_baseline(folder: Path) -> bool:
    """Tell whether a folder holds baselines."""
    return folder.is_dir() and any(folder.glob(f"{PREFIX}*.json"))


def read_side(text: str) -> list[Process]:
    """Read a side of a comparison: a file, a folder of files, a pattern, or a comma list of these.

    Raises BenchError where there is none, and for every file that is not a benchmark file.
    """
    paths = list(dict.fromkeys(path for part in text.split(",") for path in _paths(part.strip())))
    if not paths:
        raise BenchError(f"'{text}' names no benchmark file: give files, a folder, or a pattern")
    return [read(path) for path in paths]


def _paths(part: str) -> Iterable[Path]:
    """Return the files of one part of a comma list."""
    if not part:
        return []
    try:
        if Path(part).is_dir():
            return sorted(Path(part).glob("*.json"))
        if glob.has_magic(part):
            return sorted(Path(path) for path in glob.glob(part, recursive=True))
    except (OSError, ValueError) as error:
        raise BenchError(f"{part!r} cannot be read ({error}): give another file") from error
    return [Path(part)]


def read(path: Path) -> Process:
    """Read one file; BenchError where it is not a benchmark file."""
    content = read_object(path)
    rows, gate = content.get("benchmarks"), content.get("gate", {})
    if not isinstance(rows, list) or not isinstance(gate, dict):
        raise BenchError(
            f"{path} has no list of benchmarks: give a file that pytest-benchmark wrote"
        )
    if gate.get("schema", SCHEMA) != SCHEMA:
        raise BenchError(
            f"{path} has schema version {gate['schema']!r:.40}, but this om2p-bench reads "
            f"version {SCHEMA}: measure again"
        )
    if len(rows) > MOST_BENCHMARKS:
        raise BenchError(
            f"{path} holds {len(rows)} benchmarks, more than {MOST_BENCHMARKS}: give another file"
        )
    timed = gate.get("costs_only") is not True
    benchmarks: dict[str, Benchmark] = {}
    for row in rows:
        name = _text(row.get("fullname")) if isinstance(row, dict) else None
        if name is None or name in benchmarks:
            raise BenchError(f"{path} has a benchmark without a unique name: measure again")
        benchmarks[name] = _benchmark(row, timed)
    return Process(
        path=str(path),
        began=_text(gate.get("began")) or _text(content.get("datetime")) or "",
        machine_class=_text(value_at(content, "machine_info.machine_class")),
        costs_key=_key(gate.get("costs_key")),
        benchmarks=benchmarks,
        listed=_texts(path, gate, "listed"),
        failed=_texts(path, gate, "failed"),
        skipped=_texts(path, gate, "skipped"),
        accepted=frozenset(filter(_is_text, gate["accepted"]))
        if isinstance(gate.get("accepted"), list)
        else frozenset(),
    )


def read_object(path: Path) -> Json:
    """Read a JSON object from a regular file of at most `LIMIT` bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BenchError(f"{path} is not a regular file: give a benchmark file")
        if status.st_size > LIMIT:
            raise BenchError(
                f"{path} is larger than {LIMIT} bytes, so it is not a benchmark file: "
                "give another file"
            )
        content = json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror}): measure again") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid JSON: measure again") from error
    if not isinstance(content, dict):
        raise BenchError(f"{path} does not hold a JSON object: measure again")
    return content


def write_baseline(folder: Path, process: Process) -> Path:
    """Write a process's versions and costs as the baseline of its key; return the path."""
    if process.costs_key is None:
        raise BenchError(
            f"{process.path} does not record the versions of torch and Python: measure with the "
            "plug-in bench.gate.plugin"
        )
    if process.failed or process.skipped:
        names = ", ".join([*process.failed, *process.skipped])
        raise BenchError(
            f"{process.path} has failed or skipped benchmarks ({names:.300}): "
            "fix them and measure again"
        )
    rows = [
        {"fullname": name, "extra_info": {"version": one.version, "costs": one.costs}}
        for name, one in sorted(process.benchmarks.items())
        if one.costs
    ]
    gate = {
        "schema": SCHEMA,
        "costs_key": process.costs_key,
        "costs_only": True,
        "listed": dict(sorted(process.listed.items())),
        "accepted": sorted(process.accepted),
    }
    path = baseline_file(folder, process.costs_key)
    folder.mkdir(parents=True, exist_ok=True)
    with store.atomic_file(path) as file:
        file.write(json.dumps({"gate": gate, "benchmarks": rows}, indent=1).encode() + b"\n")
    return path


def _benchmark(row: Json, timed: bool) -> Benchmark:
    """Read one row; values of an unexpected type count as missing."""
    costs = value_at(row, "extra_info.costs")
    return Benchmark(
        version=_text(value_at(row, "extra_info.version")),
        costs={
            key: value
            for key, value in (costs.items() if isinstance(costs, dict) else ())
            if _is_text(key) and type(value) is int and 0 <= value < LARGEST
        },
        seconds=_positive(value_at(row, "stats.median")) if timed else None,
        calibration=_positive(value_at(row, "extra_info.calibration_seconds")),
    )


def _positive(value: Any) -> float | None:
    """Return a plausible number of seconds (0.1 ns to a year), None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 1e-10 < value < 3.2e7 and math.isfinite(value) else None


def _is_text(value: Any) -> bool:
    """Tell whether a value is a printable text of at most `TEXT_LIMIT` characters."""
    return isinstance(value, str) and 0 < len(value) <= TEXT_LIMIT and value.isprintable()


def _text(value: Any) -> str | None:
    return value if _is_text(value) else None


def _key(value: Any) -> str | None:
    """Return a key that can be part of a file's name."""
    return value if _is_text(value) and re.fullmatch(r"[\w.-]{1,200}", value, re.ASCII) else None


def _texts(path: Path, gate: Json, key: str) -> dict[str, str]:
    """Return a mapping of texts from the file's section `gate`."""
    section = gate.get(key, {})
    if not isinstance(section, dict) or len(section) > MOST_BENCHMARKS:
        raise BenchError(f"{path}: gate.{key} is not a mapping of names to texts: measure again")
    return {name: str(_text(text) or "?") for name, text in section.items() if _is_text(name)}


def _refuse(name: str) -> None:
    """Refuse NaN and infinities, which are not valid JSON."""
    raise ValueError(f"{name} is not valid JSON")
