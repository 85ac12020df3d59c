"""The process that measures one algorithm at one size once: reads a job, writes numbers, as JSON.

    python -m bench.tracks.efficiency.job PARENT_PID     (the job on stdin, the answer on stdout)

It imports little, because it is started once per algorithm, size and round.
"""

import gc
import json
import os
import sys

from bench.launchers.worker import die_with
from bench.outside import Json
from bench.tracks.efficiency.samples import Job, TimesAnswer


def main() -> int:
    """Do the job and return the exit code; what an algorithm prints goes to stderr."""
    die_with(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job: Job = json.loads(sys.stdin.read())
    import torch

    torch.set_num_threads(job["threads"])
    from bench.plan import plugins

    plugins.load_expected(job["plugins"])
    answer = _costs(job) if job["kind"] == "cost" else _times(job)
    json.dump(answer, answers, allow_nan=False)
    answers.close()
    return 0


def _times(job: Job) -> TimesAnswer:
    """Time updates and actions; nothing else is measured in this process."""
    from bench.meters import machine, nvml
    from bench.tracks.efficiency import timing
    from bench.tracks.efficiency.subject import Subject

    gpu = nvml.Gpu(nvml.uuids_of(job["device"]))
    described = machine.describe(job["device"], gpu)
    load = os.getloadavg()[0]
    subject = Subject(job)
    gc.collect()
    gc.freeze()
    gc.disable()
    before = timing.calibration(job["device"])
    times = timing.all_times(subject, job["seconds"])
    rates = before + timing.calibration(job["device"])
    return {
        **times,
        "calibration": [timing.short(rate) for rate in rates],
        "load": round(load, 2),
        "machine": {**described.as_json(), "gpu_at_end": gpu.state().as_json()},
    }


def _costs(job: Job) -> Json:
    """Read memory after a few plain updates, then count costs; nothing is timed."""
    from bench.meters import counts, memory
    from bench.tracks.efficiency.subject import Subject

    meter = memory.meter(job["device"])
    meter.start()
    subject = Subject(job)
    memory.reset_torch_peaks(job["device"])
    before = memory.resident_bytes()
    for _ in range(3):
        subject.algorithm.update(subject.batch)
    subject.synchronise()
    meter.stop()
    peaks = memory.read_all(job["device"], meter).as_json()
    counted = counts.measure(subject.make, subject.batch, subject.present)
    return {**counted.as_json(), "memory": {**peaks, "resident_before_bytes": before}}


if __name__ == "__main__":
    sys.exit(main())
