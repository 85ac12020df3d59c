"""Measure every algorithm in fresh processes, one at a time, round by round.

Each round measures every algorithm at every size once, in a random order of its own, so that a slow
moment of the machine is as likely to meet one algorithm as another. The file is written after each
process: Ctrl-C loses at most the running one, and the same command continues. Torch-free.
"""

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from bench.errors import BenchError
from bench.launchers.process import worker_environment
from bench.outside import Json
from bench.plan import plugins
from bench.results import store
from bench.results.locks import measurement_lock
from bench.tracks.efficiency import samples
from bench.tracks.efficiency.document import begin, code_hash
from bench.tracks.efficiency.request import Request, key_of, settings_of
from bench.tracks.efficiency.samples import Document, Round, TimesAnswer
from bench.tracks.efficiency.sizes import Size


@dataclasses.dataclass(frozen=True)
class Job:
    """One process to start: the costs of an algorithm at a size, or one round of its times."""

    algorithm: str
    size: Size
    round: int  # 0: the costs

    @property
    def key(self) -> str:
        """Return the file's key for the answer."""
        return key_of(self.algorithm, self.size)


def run(request: Request, to: Path, tell: Callable[[str], None]) -> Document:
    """Measure what the file `to` does not hold yet, and return the file's content.

    Raises BenchError where the file holds another measurement or another process writes it, and
    KeyboardInterrupt after Ctrl-C; the file then holds the answers of all processes that ended.
    """
    with measurement_lock(to):
        return _run(request, to, tell)


def _run(request: Request, to: Path, tell: Callable[[str], None]) -> Document:
    document = begin(request, to)
    jobs = [job for job in _jobs(request) if not _done(document, job)]
    began = time.monotonic()
    for at, job in enumerate(jobs):
        if job.key in document["failures"]:
            continue
        answer = _start(request, job)
        if code_hash() != document["configuration"]["code"]:
            raise BenchError(
                f"the code has changed while it was measured ({to} keeps what was measured "
                "before): measure into another file, and do not edit the code meanwhile"
            )
        _keep(document, job, answer)
        store.write_json(to, document)
        spent = time.monotonic() - began
        left = spent / (at + 1) * (len(jobs) - at - 1)
        tell(f"[{at + 1}/{len(jobs)}] {_line(job, document)}{_left(left)}")
    return document


def _jobs(request: Request) -> Iterator[Job]:
    """Yield the jobs of costs first, then those of every round, each in a random order."""
    for round_ in range(request.rounds + 1):
        jobs = [Job(name, size, round_) for name in request.algorithms for size in request.sizes]
        random.Random(round_).shuffle(jobs)
        yield from jobs


def _done(document: Document, job: Job) -> bool:
    """Tell whether the file holds the answer to a job."""
    if job.round == 0:
        return job.key in document["costs"]
    return any(sample["round"] == job.round for sample in document["rounds"].get(job.key, []))


def _start(request: Request, job: Job) -> Json:
    """Run one process and return its answer, or {"error": sentence} where it failed."""
    asked: samples.Job = {
        "kind": "cost" if job.round == 0 else "time",
        "algorithm": job.algorithm,
        "settings": settings_of(request, job.algorithm, job.size),
        "agents": job.size.agents,
        "batch": job.size.batch,
        "device": request.device,
        "threads": request.threads,
        "seconds": request.seconds,
        "plugins": plugins.loaded(),
        "variants": request.variants,
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.tracks.efficiency.job", str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=worker_environment(request.environment, request.threads),
        start_new_session=True,  # Ctrl-C reaches this process only
    )  # fmt: skip
    try:
        output, errors = process.communicate(json.dumps(asked))
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode == 0:
        answer: Json = json.loads(output)
        return answer
    lines = errors.strip().splitlines()
    if process.returncode < 0 or not lines:
        return {"error": f"its process ended with exit code {process.returncode}"}
    return {"error": lines[-1]}


def _keep(document: Document, job: Job, answer: Json) -> None:
    """Add an answer to the file's content."""
    if "error" in answer:
        document["failures"][job.key] = answer["error"]
        return
    if job.round == 0:
        document["costs"][job.key] = answer
        return
    timed = cast("TimesAnswer", answer)
    machine = timed["machine"]
    known = document["machine"] = document["machine"] or machine
    if machine["machine_class"] != known["machine_class"]:
        raise BenchError(
            f"the file holds times of another machine ({known['machine_class']}; "
            f"this is {machine['machine_class']}): measure into another file with --to"
        )
    gpu = [machine["gpu_at_start"], machine["gpu_at_end"]]
    throttling = {reason for state in gpu for reason in state["throttling"] or []}
    times = {key: value for key, value in timed.items() if key != "machine"}
    round_ = cast("Round", {**times, "round": job.round, "throttling": sorted(throttling) or None})
    if document["configuration"]["device"] != "cpu":
        round_["gpu"] = gpu
    document["rounds"].setdefault(job.key, []).append(round_)


def _line(job: Job, document: Document) -> str:
    """Return the line of progress for a process that has ended."""
    what = "costs" if job.round == 0 else f"round {job.round}"
    if job.key in document["failures"]:
        return f"{job.key}, {what}: failed: {document['failures'][job.key]}"
    if job.round == 0:
        return f"{job.key}, {what}"
    middle = sorted(document["rounds"][job.key][-1]["update"]["cpu"])
    return f"{job.key}, {what}: {1e3 * middle[len(middle) // 2]:.2f} ms per update"


def _left(seconds: float) -> str:
    """Return the time that is left, as the end of a line."""
    if seconds < 1:
        return ""
    return f" ({seconds:.0f} s left)" if seconds < 100 else f" ({seconds / 60:.0f} min left)"
