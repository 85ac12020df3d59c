"""What `python -m bench compare` does."""

import dataclasses
import os
import sys
import tempfile
from pathlib import Path

from bench.errors import BenchError, closest
from bench.gate import accepted, files, interleave, regression, text
from bench.gate.files import Process
from bench.meters import machine

REGRESSION = 3  # exit code
FORMATS = {"table": text.text, "markdown": text.markdown, "json": text.as_json}


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of `compare`."""

    base: str | None
    head: str | None
    ab: str | None
    rounds: int
    benchmarks: str
    select: str | None
    to: Path | None
    accept: list[str]
    reason: str | None
    accepted: Path
    refresh: bool
    require_baseline: bool
    threshold: float | None
    format: str


def compare(options: Options) -> int:
    """Compare, print, record what is accepted; 3 where something is slower, larger or gone."""
    _check(options)
    entries = accepted.read(options.accepted)
    if options.refresh:
        return _refresh(options)
    base, head, notes = _sides(options)
    found = regression.compare(base, head, entries, options.threshold)
    if options.accept:
        fresh = _accept(found, options.accept, options.reason or "")
        accepted.add(options.accepted, fresh)
        found = regression.compare(base, head, [*entries, *fresh], options.threshold)
    found = dataclasses.replace(found, notes=[*notes, *found.notes])
    print(FORMATS[options.format](found))
    job = os.environ.get("GITHUB_STEP_SUMMARY")
    if job:
        with open(job, "a", encoding="utf-8") as file:
            file.write(text.markdown(found) + "\n")
    return REGRESSION if found.fails else 0


def _check(options: Options) -> None:
    """Refuse flags that do not go together."""
    if options.format not in FORMATS:
        raise BenchError(f"--format {options.format}: choose {', '.join(FORMATS)}")
    if options.ab is None and (options.base is None or options.head is None):
        raise BenchError("compare needs BASE and HEAD, two sets of benchmark files, or --ab REV")
    if options.ab is not None and (options.base or options.head):
        raise BenchError("--ab REV measures both sides itself: leave BASE and HEAD out")
    if bool(options.accept) != bool((options.reason or "").strip()):
        raise BenchError("--accept NAME and --reason TEXT belong together: say why it is right")
    if options.threshold is not None and not 1.0 < options.threshold < 100.0:
        raise BenchError("--threshold is a ratio of times above 1, such as 1.1")
    if options.refresh and (options.ab or options.accept):
        raise BenchError("--refresh writes a baseline and nothing else: leave --ab, --accept out")


def _sides(options: Options) -> tuple[list[Process], list[Process], list[str]]:
    """Return both sides, measured or read, and what is to be said about the baseline."""
    if options.ab is not None:
        return *_measured(options, options.ab), []
    head = files.read_side(str(options.head))
    folder = Path(str(options.base))
    if not files.is_baseline(folder):
        return files.read_side(str(options.base)), head, []
    key = head[0].costs_key or files.costs_key()
    path = files.baseline_file(folder, key)
    if path.exists():
        return [files.read(path)], head, []
    known = ", ".join(one.stem.removeprefix(files.PREFIX) for one in sorted(folder.glob("costs-*")))
    told = f"no baseline for {key} (there are: {known}): costs are not judged"
    if options.require_baseline:
        raise BenchError(f"{told}; make one with `make gate-baseline` and commit it")
    return [], head, [told]


def _measured(options: Options, revision: str) -> tuple[list[Process], list[Process]]:
    """Measure another revision and the working tree in turn."""
    home = interleave.repository(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="om2p-bench-ab-") as scratch:
        to = options.to or Path(scratch)
        with interleave.worktree(home, revision) as place:
            return interleave.measure(
                interleave.Tree("base", place),
                interleave.Tree("head", home),
                options.rounds, options.benchmarks, options.select, to,
                tell=lambda text: print(text, file=sys.stderr, flush=True),
            )  # fmt: skip


def _refresh(options: Options) -> int:
    """Write HEAD's costs as a baseline into the folder BASE."""
    head = files.read_side(str(options.head))
    if len(head) != 1:
        raise BenchError("--refresh takes one file of costs as HEAD: make gate-baseline writes it")
    path = files.write_baseline(Path(str(options.base)), head[0])
    print(f"baseline: {path}")
    return 0


def _accept(
    found: regression.Comparison, names: list[str], reason: str
) -> list[accepted.AcceptedChange]:
    """Return the entries that accept every failing measure of the named benchmarks."""
    commit = machine.revision(Path.cwd())["commit"]
    failing = [row for row in found.rows if row.fails]
    entries = []
    for name in names:
        rows = [row for row in failing if name in _names_of(row.name)]
        if not rows:
            options = {row.name for row in failing}
            raise BenchError(f"--accept {name}: no such regression; {closest(name, options)}")
        for row in rows:
            if row.verdict not in regression.ACCEPTABLE:
                raise BenchError(
                    f"--accept {name}: {row.name} is '{row.verdict}', which cannot be accepted: "
                    "mend it"
                )
            measure, value = regression.measure_and_value(row)
            entries.append(accepted.make(row.name, measure, value, reason, commit))
    return entries


def _names_of(name: str) -> tuple[str, str, str]:
    """Return what a benchmark may be called: in full, without its file, without parameters."""
    short = name.rpartition("::")[2]
    return name, short, short.partition("[")[0]
