"""Timing inside one fresh process: blocks of updates, single actions, large batches of actions.

Wall-clock time is `perf_counter`; processor time is that of all threads of the process. On CUDA
the device is synchronised before and after a block, and after each single action; this has not
been run on a GPU.
"""

import copy
import time
from collections.abc import Callable, Sequence

from algorithms.device import cuda
from bench.meters.calibration import FLOPS, Calibration
from bench.tracks.efficiency.samples import Block, TimedVariant, Times
from bench.tracks.efficiency.subject import Learner, Subject

BLOCKS, FEWEST_BLOCKS = 20, 3
WARM_UP_UPDATES, WARM_UP_ACTIONS = 10, 50
ACTIONS, FEWEST_ACTIONS = 300, 50
THROUGHPUT_ROWS = 1000


def short(value: float) -> float:
    """Round to five significant digits: more are noise and make the file larger."""
    return float(f"{value:.5g}")


def calibration(device: str) -> list[float]:
    """Return the rate of the calibration product, in FLOP per second of processor time, per block.

    On CUDA it is per second of wall-clock time, because the processor only waits.
    """
    product = Calibration(device)
    wait = cuda.waiting_for(device)
    clock = time.perf_counter if cuda.is_cuda(device) else time.process_time
    rates = []
    for block in range(6):
        wait()
        began = clock()
        for _ in range(20):
            product.multiply()
        wait()
        if block:  # the first warms up
            rates.append(20 * FLOPS / (clock() - began))
    return rates


def all_times(subject: Subject, seconds: float) -> Times:
    """Return the raw samples of updates, of single joint actions, and of 1,000 at once.

    seconds: how long updates of each variant are timed; each kind of action half as long.
    """
    learners = subject.learners()
    samples = updates(learners, subject.synchronise, seconds)
    variants: list[TimedVariant] = [
        {
            "kernels": kernels,
            "replicas": replicas,
            "computed": {"name": computed.name, "reason": computed.reason},
            "update": sample,
        }
        for (kernels, replicas), computed, sample in zip(
            subject.job["variants"],
            [learner.algorithm.kernels for learner in learners],
            samples,
            strict=True,
        )
    ]
    return {
        "update": samples[0],
        "variants": variants,
        "latency": latency(subject, seconds / 2),
        "throughput": throughput(subject, seconds / 2),
    }


def updates(
    learners: Sequence[Learner], synchronise: Callable[[], None], seconds: float
) -> list[Block]:
    """Return seconds per update, wall-clock and processor, of blocks of `count` updates.

    One row of samples per learner, whose blocks take turns: what slows one often slows all. Warming
    up leaves no trace: parameters, optimiser and generators are restored. The first update, in
    which the optimiser allocates its state, counts neither as warm-up nor as a sample.
    """
    plans = [_warm(learner, synchronise, seconds) for learner in learners]
    samples: list[Block] = [{"count": count, "wall": [], "cpu": []} for _, count in plans]
    for at in range(max(blocks for blocks, _ in plans)):
        for learner, (blocks, count), sample in zip(learners, plans, samples, strict=True):
            if at >= blocks:
                continue
            synchronise()
            began = time.perf_counter(), time.process_time()
            for _ in range(count):
                learner.algorithm.update(learner.batch)
            synchronise()
            sample["wall"].append(short((time.perf_counter() - began[0]) / count))
            sample["cpu"].append(short((time.process_time() - began[1]) / count))
    return samples


def _warm(learner: Learner, synchronise: Callable[[], None], seconds: float) -> tuple[int, int]:
    """Warm a learner up without a trace; return how many blocks of how many updates to time."""
    algorithm, batch = learner
    algorithm.update(batch)
    state = copy.deepcopy(algorithm.state_dict())
    each = _pace(lambda: algorithm.update(batch), synchronise, WARM_UP_UPDATES, seconds)
    algorithm.load_state_dict(state)
    blocks = max(FEWEST_BLOCKS, min(BLOCKS, int(seconds / each)))
    return blocks, max(1, int(seconds / blocks / each))


def latency(subject: Subject, seconds: float) -> list[float]:
    """Return the seconds of single joint actions of one team, in order; inputs on the device."""
    act = _acting(subject, 1)
    each = _pace(act, subject.synchronise, WARM_UP_ACTIONS, seconds)
    samples = []
    for _ in range(max(FEWEST_ACTIONS, min(ACTIONS, int(seconds / each)))):
        began = time.perf_counter()
        act()
        subject.synchronise()
        samples.append(short(time.perf_counter() - began))
    return samples


def throughput(subject: Subject, seconds: float) -> list[float]:
    """Return the seconds of joint actions of 1,000 teams at once."""
    act = _acting(subject, THROUGHPUT_ROWS)
    each = _pace(act, subject.synchronise, 2, seconds)
    samples = []
    fewest = FEWEST_BLOCKS if each < seconds else 1  # MADiff takes half a minute for 1,000 teams
    for _ in range(max(fewest, min(BLOCKS, int(seconds / each)))):
        subject.synchronise()
        began = time.perf_counter()
        act()
        subject.synchronise()
        samples.append(short(time.perf_counter() - began))
    return samples


def _acting(subject: Subject, rows: int) -> Callable[[], None]:
    """Return a function that acts once and keeps the policy's memory, as in an episode."""
    observation, memory = subject.observation(rows), None

    def act() -> None:
        nonlocal memory
        _, memory = subject.algorithm.act(observation, memory)

    return act


def _pace(
    work: Callable[[], object], synchronise: Callable[[], None], most: int, seconds: float
) -> float:
    """Warm up with at most `most` calls or half of `seconds`; return the seconds of the last."""
    synchronise()
    first = time.perf_counter()
    last = 0.0
    for _ in range(most):
        began = time.perf_counter()
        work()
        synchronise()
        last = time.perf_counter() - began
        if time.perf_counter() - first > seconds / 2:
            break
    return max(last, 1e-7)
