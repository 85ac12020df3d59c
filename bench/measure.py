"""The efficiency track: every algorithm in fresh processes, one at a time, round by round.

Each round measures every algorithm at every size once, in an order of its own, so that a slow
moment of the machine meets all alike. The file is written after each process: Ctrl-C loses at most
the one that runs, and the same command goes on. Nothing here imports torch.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import algorithms
import datasets
from bench import config, plugins, presets, store
from bench.errors import BenchError
from bench.launchers.process import HOME, worker_environment
from bench.measuring import reference, sizes
from bench.measuring.sizes import Size
from bench.meters import machine

SCHEMA = 1
KIND = "om2p-bench measurement"
FILE_LIMIT = 256 * 2**20
INTERRUPTED = 130

Document = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Request:
    """What to measure; `make_request` checks it."""

    algorithms: tuple[str, ...]
    sizes: tuple[Size, ...]
    rounds: int
    preset: str
    overrides: dict[str, Any]
    threads: int
    seconds: float
    device: str  # cpu or cuda
    environment: dict[str, str]  # what selects the device


@dataclasses.dataclass(frozen=True)
class Job:
    """One process to start: the costs of an algorithm at a size, or one round of its times."""

    algorithm: str
    size: Size
    round: int  # 0: the costs

    @property
    def key(self) -> str:
        """Return where its answer belongs in the file."""
        return f"{self.algorithm}, {self.size.label}"


# --- what is asked for ---------------------------------------------------------------------------


def make_request(
    algos: str,
    agents: str,
    batch: str,
    hidden: str | None,
    set_: Sequence[str],
    **options: Any,
) -> Request:
    """Return what the flags ask for. Raises the errors of users, one sentence each."""
    names = config.parse_names(algos, "--algos")
    for name in names:
        algorithms.row(name)
    overrides = config.parse_overrides(set_)
    config.check_overrides(overrides, names)
    for key in overrides:
        if key.startswith("run."):
            raise BenchError(f"--set {key} has no effect on a measurement: sizes are --batch's")
    layers = () if hidden is None else sizes.parse_layers(hidden, "--hidden")
    taken = [key for key in overrides if key.split(".")[1] in ("hidden", "critic_hidden")]
    if layers and taken:
        raise BenchError(f"--hidden and --set {taken[0]} both give widths: use one of them")
    counts = sizes.parse_numbers(agents, "--agents")
    for count in counts:
        datasets.load_task("mpe/spread", agents=count)
    found = sizes.around(counts, sizes.parse_numbers(batch, "--batch"), layers)
    device, environment = _place(options.pop("device"))
    request = Request(
        names, tuple(found), overrides=overrides, device=device, environment=environment, **options
    )
    for name in names:
        for size in found:
            settings_of(request, name, size)
    return request


def _place(device: str) -> tuple[str, dict[str, str]]:
    """Return the device and the environment that selects it: the first usable GPU, or none."""
    from bench.study import usable_gpus

    if device not in ("auto", "cpu", "cuda"):
        raise BenchError(f"--device {device!r} is not auto, cpu or cuda")
    uuids = usable_gpus(device)
    if device == "cuda" and not uuids:
        raise BenchError("--device cuda: no usable CUDA device was found; use --device cpu")
    if uuids:
        return "cuda", {"CUDA_VISIBLE_DEVICES": uuids[0]}
    return "cpu", {"CUDA_VISIBLE_DEVICES": ""}


def settings_of(request: Request, name: str, size: Size) -> dict[str, Any]:
    """Return an algorithm's settings at a size, as plain values.

    Widths are the size's, for policy and critic alike. Trajectory methods take windows: as many
    per transition of the batch as in the preset. Everything else is the preset's and `--set`'s.
    """
    preset = presets.load(request.preset)
    fields = {field.name for field in dataclasses.fields(algorithms.settings_class(name))}
    changes = dict(request.overrides)
    if size.hidden is not None:
        for key in {"hidden", "critic_hidden"} & fields:
            changes[f"{name}.{key}"] = list(size.hidden)
    run_ = config.resolve_run(preset, {})
    found = config.resolve_settings(name, preset, changes, run_.updates)
    if "windows" in found and f"{name}.windows" not in changes:
        share = size.batch / run_.batch_size
        found["windows"] = max(1, round(found["windows"] * share))
    return found


# --- measuring -----------------------------------------------------------------------------------


def run(request: Request, to: Path, tell: Callable[[str], None]) -> Document:
    """Measure what the file `to` does not hold yet, and return the file's content.

    Raises BenchError where the file holds another measurement, KeyboardInterrupt after Ctrl-C: the
    file then holds all processes that had ended.
    """
    document = _begin(request, to)
    jobs = [job for job in _jobs(request) if not _done(document, job)]
    began = time.monotonic()
    for at, job in enumerate(jobs):
        if job.key in document["failures"]:
            continue
        answer = _start(request, job)
        _keep(document, job, answer)
        store.write_json(to, document)
        spent = time.monotonic() - began
        left = spent / (at + 1) * (len(jobs) - at - 1)
        tell(f"[{at + 1}/{len(jobs)}] {_told(job, document)}{_left(left)}")
    return document


def _jobs(request: Request) -> Iterator[Job]:
    """Yield costs first, then the rounds, each in an order of its own."""
    for round_ in range(request.rounds + 1):
        jobs = [Job(name, size, round_) for name in request.algorithms for size in request.sizes]
        random.Random(round_).shuffle(jobs)
        yield from jobs


def _done(document: Document, job: Job) -> bool:
    """Tell whether the file holds the answer to a job."""
    if job.round == 0:
        return job.key in document["costs"]
    return any(sample["round"] == job.round for sample in document["rounds"].get(job.key, []))


def _start(request: Request, job: Job) -> dict[str, Any]:
    """Run one process to its end and return its answer, {"error": a sentence} where it failed."""
    text = json.dumps(
        {
            "kind": "cost" if job.round == 0 else "time",
            "algorithm": job.algorithm,
            "settings": settings_of(request, job.algorithm, job.size),
            "agents": job.size.agents,
            "batch": job.size.batch,
            "device": request.device,
            "threads": request.threads,
            "seconds": request.seconds,
            "plugins": plugins.loaded(),
        }
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.measuring.worker", str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=worker_environment(request.environment, request.threads),
        start_new_session=True,  # Ctrl-C reaches us only
    )  # fmt: skip
    try:
        output, errors = process.communicate(text)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode == 0:
        answer: dict[str, Any] = json.loads(output)
        return answer
    lines = errors.strip().splitlines()
    if process.returncode < 0 or not lines:
        return {"error": f"its process ended with exit code {process.returncode}"}
    return {"error": lines[-1]}


def _keep(document: Document, job: Job, answer: dict[str, Any]) -> None:
    """Take an answer into the file's content."""
    if "error" in answer:
        document["failures"][job.key] = answer["error"]
        return
    if job.round == 0:
        document["costs"][job.key] = answer
        return
    found = answer.pop("machine")
    document["machine"] = document["machine"] or found
    if found["machine_class"] != document["machine"]["machine_class"]:
        raise BenchError(
            f"the file holds times of another machine ({document['machine']['machine_class']}; "
            f"this is {found['machine_class']}): measure into another file with --to"
        )
    throttling = (found["gpu_at_start"]["throttling"] or []) + (
        found["gpu_at_end"]["throttling"] or []
    )
    answer |= {"round": job.round, "throttling": sorted(set(throttling)) or None}
    document["rounds"].setdefault(job.key, []).append(answer)


# --- the file ------------------------------------------------------------------------------------


def _begin(request: Request, to: Path) -> Document:
    """Return the content of the file that is continued, or a new one."""
    if to.is_dir() or not to.absolute().parent.is_dir():
        raise BenchError(f"--to {to} cannot be written: give a file in a folder that exists")
    fresh = _fresh(request)
    if not to.exists():
        return fresh
    document = read(to)
    old, new = document["configuration"], fresh["configuration"]
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            what = _difference(key, old.get(key), new.get(key))
            raise BenchError(
                f"{to} holds another measurement ({what}): give --to another file, or delete it"
            )
    return document


def _difference(key: str, old: Any, new: Any) -> str:
    """Say what differs in a configuration."""
    if key == "code":
        return "the code has changed since"
    if isinstance(old, str | int | float) and isinstance(new, str | int | float):
        return f"its {key} is {old}, not {new}"
    return f"its {key} differ"


def _fresh(request: Request) -> Document:
    """Return a file's content before anything is measured."""
    entries = [
        _entry(request, name, size) for name in request.algorithms for size in request.sizes
    ]
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "configuration": {
            "algorithms": list(request.algorithms),
            "sizes": [size.as_dict() for size in request.sizes],
            "preset": request.preset,
            "overrides": request.overrides,
            "threads": request.threads,
            "seconds": request.seconds,
            "device": request.device,
            "plugins": [digest for _, digest in plugins.loaded()],
            "code": code_hash(),
        },
        "versions": machine.versions(),
        "machine": None,
        "entries": entries,
        "costs": {},
        "rounds": {},
        "failures": {},
    }


def _entry(request: Request, name: str, size: Size) -> dict[str, Any]:
    """Return what is known of an algorithm at a size before it is measured."""
    settings = settings_of(request, name, size)
    row = algorithms.row(name)
    task = datasets.load_task("mpe/spread", agents=size.agents)
    published = getattr(algorithms.default_settings(name), row.steps_setting or "", 1)
    return {
        "key": Job(name, size, 0).key,
        "algorithm": name,
        "version": row.version,
        "size": size.as_dict(),
        "settings": settings,
        "steps": settings.get(row.steps_setting, 1),
        "published_steps": published,
        "reference_flops": reference.update_flops(
            name, settings, size.agents, task.observation_sizes[0], task.action_sizes[0], size.batch
        ),
    }


@functools.cache
def code_hash() -> str:
    """Return 12 digits that change when what is measured, or how, does."""
    digest = hashlib.sha256()
    for folder in ("algorithms", "bench/measuring", "bench/meters"):
        for path in sorted((HOME / folder).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def read(path: Path) -> Document:
    """Return a measurement; BenchError where the file is none."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise BenchError(f"{path} is too large to be a measurement: name another file")
        document: Document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror}): name another file") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid JSON: name another file") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise BenchError(f"{path} was not written by `python -m bench measure`: name another file")
    if document.get("schema") != SCHEMA:
        raise BenchError(
            f"{path} is of schema version {document.get('schema')!r}, but this om2p-bench reads "
            f"version {SCHEMA}: measure again"
        )
    return document


def _told(job: Job, document: Document) -> str:
    """Return a line about a process that has ended."""
    what = "costs" if job.round == 0 else f"round {job.round}"
    if job.key in document["failures"]:
        return f"{job.key}, {what}: failed: {document['failures'][job.key]}"
    if job.round == 0:
        return f"{job.key}, {what}"
    middle = sorted(document["rounds"][job.key][-1]["update"]["cpu"])
    return f"{job.key}, {what}: {1e3 * middle[len(middle) // 2]:.2f} ms per update"


def _left(seconds: float) -> str:
    """Return how long the rest takes, as the end of a line."""
    if seconds < 1 or math.isnan(seconds):
        return ""
    return f" ({seconds:.0f} s left)" if seconds < 100 else f" ({seconds / 60:.0f} min left)"
