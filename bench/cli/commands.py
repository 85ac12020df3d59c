"""What the commands of the command line do; each returns its exit code."""

import collections
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from bench.errors import BenchError, closest
from bench.plan.config import RunConfig
from bench.results import store

INTERRUPTED = 130  # as shells report a program that Ctrl-C ended


def run(config: RunConfig) -> int:
    """Run a study, print its table, and say what to do next."""
    from bench.study import study, summary
    from bench.study.progress import make_display

    outcome = study.run_study(config, make_display())
    print(summary.table(outcome.cells, outcome.records))
    out = shlex.quote(str(config.out))
    print(f"\nresults: {config.out}   next: python -m bench report --out {out}")
    if outcome.interrupted:
        left = len(outcome.cells) - len(outcome.of_status("done"))
        print(f"interrupted with {left} cells left: the same command continues")
        return INTERRUPTED
    failed = outcome.of_status(*study.FAILED)
    if failed:
        print(summary.failures(failed, outcome.records, config.out))
    return 0 if outcome.complete else 1


def plan(config: RunConfig, form: str) -> int:
    """Print the cells of a study, which of them still have to run, and what they will need."""
    from bench.meters import machine
    from bench.plan.estimate import Estimator
    from bench.study import study

    _check_form(form, "table", "json", "slurm")
    planned = study.plan(config)
    planned.warn()
    todo = {cell.id for cell in planned.todo}
    estimator = Estimator(planned.known.values(), machine.worker_class(config.threads))
    estimates = {cell.id: estimator.of(cell) for cell in planned.cells}
    if form == "slurm":
        from bench.launchers import slurm

        if not planned.todo:
            raise BenchError(f"all {len(planned.cells)} cells are done in {config.out}: no job")
        needs = [(estimates[c.id].seconds, estimates[c.id].rss_bytes) for c in planned.todo]
        print(slurm.script(planned.todo, config, needs))
        return 0
    rows = [
        {
            "cell": cell.id,
            "algorithm": cell.algorithm,
            "dataset": cell.dataset,
            "seed": cell.seed,
            "updates": cell.run["updates"],
            "status": planned.records.get(cell.id, {}).get("status"),
            "tuned": cell.tuned is not None,
            "run": cell.id in todo,
            "seconds": estimates[cell.id].seconds,
            "rss_bytes": estimates[cell.id].rss_bytes,
            "basis": estimates[cell.id].basis,
        }
        for cell in planned.cells
    ]
    if form == "json":
        print(json.dumps(rows, indent=1))
        return 0
    _print_rows([_plan_row(row, config.tuned) for row in rows])
    print(f"{len(rows)} cells, {len(todo)} to run, results in {config.out}")
    print(_plan_estimate([row for row in rows if row["run"]], config))
    return 0


def _plan_row(row: dict[str, Any], any_tuned: bool) -> dict[str, Any]:
    """Return one line of the plan's table, in units for people."""
    shown = {key: row[key] for key in ("cell", "algorithm", "dataset", "seed", "updates", "status")}
    memory = row["rss_bytes"]
    return {
        **shown,
        **({"tuned": "yes" if row["tuned"] else "no"} if any_tuned else {}),
        "run": "yes" if row["run"] else "no",
        "seconds": row["seconds"],
        "GiB": None if memory is None else memory / 2**30,
    }


def _plan_estimate(rows: list[dict[str, Any]], config: RunConfig) -> str:
    """Return the sentence on the time of the whole, with what it rests on."""
    from bench.study.progress import duration

    known = [row["seconds"] for row in rows if row["seconds"] is not None]
    if not known:
        return f"no estimate: no finished cell of this machine class in {config.out} did such work"
    jobs = config.jobs or os.cpu_count() or 1
    basis = (
        f"from finished cells of this machine class in {config.out}: seconds are a median, "
        "memory is the largest peak RSS"
    )
    rest = len(rows) - len(known)
    unknown = f", and {rest} cells without an estimate" if rest else ""
    return f"about {duration(sum(known) / jobs)} with {jobs} jobs{unknown} ({basis})"


def status(out: Path, form: str) -> int:
    """Print how the cells of a results folder stand."""
    from bench.results import locks

    _check_form(form, "table", "json")
    _check_folder(out)
    rows = [_status_row(record) for record in store.read_records(out).values()]
    if form == "json":
        print(json.dumps(rows, indent=1))
        return 0
    _print_rows(rows)
    counts = collections.Counter(row["status"] for row in rows)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no cells"
    held = "a run is at work here" if locks.held(out) else "no run is at work here"
    print(f"{out}: {listed}; {held}")
    return 0


def _status_row(record: dict[str, Any]) -> dict[str, Any]:
    """Return one line of `status`."""
    flat = store.flatten(record)
    keys = ("cell", "algorithm", "dataset", "seed", "status", "score", "error")
    row = {key: flat[key] for key in keys}
    return {**row, "updates": f"{record.get('updates_done') or 0}/{flat['updates']}"}


def evaluate(
    cell: str,
    out: Path,
    episodes: int,
    device: str,
    rules: str | None = None,
    prey: str | None = None,
) -> int:
    """Evaluate a cell's checkpoint again and print the return."""
    from bench.policies import checkpointed

    folder = checkpointed.find_cell(cell, out)
    result = checkpointed.evaluate_again(folder, episodes, device, rules, prey)
    error = result.return_std / result.episodes**0.5
    score = "no score" if result.score is None else f"score {result.score:.2f}"
    print(
        f"{folder.name}: return {result.return_mean:.3f} (standard error {error:.3f}), "
        f"{score}, {result.episodes} episodes"
    )
    return 0


def check(algorithm: str, files: list[Path]) -> int:
    """Hold an algorithm to the contract and print a line per check; 1 where one is broken."""
    from algorithms.contract import suite
    from bench.plan import plugins

    plugins.load_all(files)

    def tell(outcome: suite.Outcome) -> None:
        word = outcome.status if outcome.status != "broken" else "BROKEN"
        print(f"{word:8}{outcome.check}" + (f": {outcome.text}" if outcome.text else ""))

    outcomes = suite.check(algorithm, tell)
    counts = collections.Counter(outcome.status for outcome in outcomes)
    print(
        f"{algorithm}: {counts['ok']} checks hold, {counts['broken']} are broken, "
        f"{counts['skipped']} do not apply"
    )
    return 1 if counts["broken"] else 0


def collect(folders: list[Path], out: Path) -> int:
    """Merge results folders and say what came of it."""
    from bench.results.collect import collect as merge

    counts = merge(folders, out)
    left = counts["unfinished"]
    rest = f", {left} not finished and left out" if left else ""
    print(f"{out}: {counts['copied']} cells copied, {counts['known']} were known already{rest}")
    return 0


def reproduce(cell: str, out: Path, data_dir: Path | None, prey: str | None = None) -> int:
    """Run a recorded cell again and compare; 1 where the numbers differ."""
    from bench.policies import checkpointed
    from bench.study import reproduce as again
    from bench.study.progress import Plain

    found = again.reproduce(checkpointed.find_cell(cell, out), Plain(sys.stderr), data_dir, prey)
    for name, record in zip(("recorded", "repeated"), found.both, strict=True):
        last = store.flatten(record)
        print(f"{name}  return {last['return_mean']!r}  score {last['score']!r}")
    if found.equal:
        print("equal to the last bit")
        return 0
    promised = "" if found.same_machine_class else ", on another class of machine"
    print(f"the results differ{promised}")
    return 1


def report(out: Path, to: Path, options: dict[str, Any]) -> int:
    """Write the report of a results folder and say where it lies."""
    import reports

    _check_folder(out)
    told = False

    def tell(written: Any) -> None:
        nonlocal told
        if written.live and not told:
            told = True
            print(f"{written.page}: written again until the run in {out} ends", flush=True)

    written = reports.write(out, to, tell=tell, **options)
    for warning in written.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"report of {written.cells} cells: {written.page}")
    return 0


def _check_folder(out: Path) -> None:
    """Refuse a results folder that does not exist."""
    if not out.is_dir():
        raise BenchError(f"there is no results folder {out}: name one with --out")


def _check_form(form: str, *forms: str) -> None:
    """Refuse an unknown --format."""
    if form not in forms:
        raise BenchError(f"unknown --format '{form}': {closest(form, forms)}")


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows as aligned columns; empty where a value is unknown."""
    if not rows:
        return
    texts = [{key: _text(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in texts)) for key in rows[0]}
    for row in [{key: key for key in rows[0]}, *texts]:
        print("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())


def _text(value: Any) -> str:
    """Return a value as table text on one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}"
    return " ".join(str(value).split())
