"""Check on a GPU what tests can prove on a CPU only: `python -m bench doctor --device cuda`.

Parity with the CPU, waits of the host, CUDA graphs, meters, an error of memory and a whole small
cell. Random numbers of a GPU are others than the CPU's, so for the parity both devices take those
of the CPU.
"""

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import algorithms
from algorithms.contract.examples import team
from algorithms.contract.subject import Subject
from algorithms.device import cuda, graphs, graphs_check
from algorithms.device.dispatch import DispatchMode
from algorithms.kernels.choice import using
from bench.doctor.row import Row, failed, ok, warning
from bench.errors import BenchError

UPDATES = 10
RELATIVE, ABSOLUTE = 1e-3, 1e-4  # of metrics after ten updates, by rounding alone
BLOCK = 2**28  # bytes that the meters are tried with
REPORT = "please report it, with this table"
CELL = {  # a cell of seconds
    "run.updates": 40, "run.batch_size": 16, "run.evaluate_every": 20, "run.checkpoint_every": 20,
    "run.evaluation_episodes": 4, "run.final_episodes": 8, "algorithm.hidden": [16],
}  # fmt: skip

Check = tuple[str, Callable[[], Iterator[Row]]]


def require() -> None:
    """Raise BenchError with the reason where torch can use no GPU."""
    from bench.meters import nvml

    if cuda.is_available():
        return
    if torch.version.cuda is None:
        why = f"torch {torch.__version__} is built without CUDA"
    else:
        driver = nvml.driver_version()
        why = f"driver {driver} shows torch no GPU" if driver else "there is no driver of NVIDIA's"
    raise BenchError(
        f"--device cuda: no GPU can be used here, because {why}; without --device the rest is "
        "checked"
    )


def checks(device: str = "cuda", names: tuple[str, ...] = ()) -> list[Check]:
    """Return the checks of a device; `names` are the algorithms, by default all."""
    listed = names or tuple(algorithms.TABLE)
    return [
        ("memory meters", functools.partial(meters, device)),
        ("out of memory", functools.partial(out_of_memory, device)),
        *((f"parity {name}", functools.partial(parity, name, device)) for name in listed),
        *((f"no waits {name}", functools.partial(waits, name, device)) for name in listed),
        *((f"CUDA graphs {name}", functools.partial(replays, name, device)) for name in listed),
        ("a whole cell", functools.partial(cell, device)),
    ]


# --- meters --------------------------------------------------------------------------------------


def meters(device: str) -> Iterator[Row]:
    """Hold a block of known size, and compare what torch and NVML say of it."""
    from bench.meters import memory

    meter = memory.meter(device)
    cuda.reset_peaks(device)
    block = torch.ones(BLOCK, dtype=torch.uint8, device=device)
    cuda.synchronise(device)
    allocated, reserved = cuda.peaks(device)
    if allocated is None or reserved is None or not BLOCK <= allocated <= reserved:
        yield failed("memory meters", f"torch's peaks are {allocated} and {reserved}", REPORT)
    else:
        yield ok("memory meters", f"torch's peaks: {_mib(allocated)}, reserved {_mib(reserved)}")
    reading = meter.read()
    if reading.bytes is None:
        cure = "nothing else may use the GPU, where NVML lists ids of the host"
        yield warning("memory by NVML", f"not known ({reading.reason})", cure)
    elif reading.bytes < block.numel():
        text = f"{_mib(reading.bytes)}, less than is held"
        yield failed("memory by NVML", f"{text} ({reading.attribution})", REPORT)
    else:
        yield ok("memory by NVML", f"{_mib(reading.bytes)}, attributed to: {reading.attribution}")
    spent = meter.energy()
    yield ok("energy by NVML", f"{spent.gpu_joules or f'not known: {spent.reason}'}")


def out_of_memory(device: str) -> Iterator[Row]:
    """Ask for more than there is: the error must be known as one of memory."""
    try:
        torch.empty(4 * cuda.free_bytes(device), dtype=torch.uint8, device=device)
    except Exception as error:
        if cuda.is_out_of_memory(error):
            yield ok("out of memory", f"is recognised ({type(error).__name__})")
            return
        yield failed("out of memory", f"is not recognised ({type(error).__name__})", REPORT)
        return
    yield failed("out of memory", "four times the free memory could be had", REPORT)


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


# --- algorithms ----------------------------------------------------------------------------------


def parity(name: str, device: str) -> Iterator[Row]:
    """Take the same ten updates on both devices, from the same parameters and random numbers."""
    check = f"parity {name}"
    batch = Subject(name).batch(rows=16)
    with CpuNumbers():
        here, there = _made(name, "cpu"), _made(name, device)
        start = {key: p.detach().clone() for key, p in here.named_parameters()}
        sent = _moved(batch, device)
        for _ in range(UPDATES):
            ours, theirs = here.update(batch), there.update(sent)
    apart = [
        key
        for key, value in ours.items()
        if not torch.allclose(theirs[key].cpu(), value, RELATIVE, ABSOLUTE, equal_nan=True)
    ]
    apart += graphs_check.strayed(there, here, start)
    if apart:
        yield failed(check, f"{apart[0]} differs from the CPU's after {UPDATES} updates", REPORT)
    else:
        yield ok(check, f"{UPDATES} updates as on the CPU")


def waits(name: str, device: str) -> Iterator[Row]:
    """Take updates while torch refuses everything that makes the host wait."""
    learner, sent = _made(name, device), _moved(Subject(name).batch(rows=16), device)
    learner.update(sent)  # the first makes the optimiser's state
    before = cuda.wait_mode()
    cuda.set_wait_mode(2)
    try:
        for _ in range(3):
            learner.update(sent)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        yield failed(f"no waits {name}", f"an update waits for the GPU ({first})", REPORT)
    else:
        yield ok(f"no waits {name}", "updates never wait for the GPU")
    finally:
        cuda.set_wait_mode(before)


def replays(name: str, device: str) -> Iterator[Row]:
    """Compare updates replayed from a CUDA graph with eager ones, as a run does before training."""
    sent = _moved(Subject(name).batch(rows=16), device)
    replayed = graphs.GraphedUpdates(_made(name, device))
    graphs_check.check(replayed, _made(name, device), lambda: sent, 100)
    yield ok(f"CUDA graphs {name}", "replays are as eager updates")


def _made(name: str, device: str) -> Any:
    """Return a narrow learner, by torch's own operations."""
    settings = Subject(name).settings(solver_steps=2, diffusion_steps=4)
    with using("torch"):
        return algorithms.make(name, team(), settings, (0,), device)


def _moved(batch: Any, device: str) -> Any:
    """Return a batch on a device."""
    return type(batch)(*(None if field is None else field.to(device) for field in batch))


class CpuNumbers(DispatchMode):
    """Draws the random numbers of every device on the CPU: those of its generator's seed."""

    def __init__(self) -> None:
        super().__init__()
        self._paired: dict[int, tuple[torch.Generator, torch.Generator]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        named = dict(kwargs or {})
        generator = next((one for one in (*args, *named.values()) if _is_generator(one)), None)
        if generator is None:
            return function(*args, **named)
        drawn = self._of(generator)
        values = [drawn if one is generator else _on_cpu(one) for one in args]
        named = {key: drawn if one is generator else _on_cpu(one) for key, one in named.items()}
        target = args[0].device if args and isinstance(args[0], Tensor) else None
        target = target or (kwargs or {}).get("device")
        if "device" in named:
            named["device"] = torch.device("cpu")
        result = function(*values, **named)
        if function.overloadpacket.__name__.endswith("_"):
            return args[0].copy_(result)
        return result if target is None else result.to(target)

    def _of(self, generator: torch.Generator) -> torch.Generator:
        """Return the generator of the CPU that stands for one; both live as long as this."""
        address = generator._cdata  # type: ignore[attr-defined]
        if address not in self._paired:
            made = torch._C.Generator("cpu").manual_seed(generator.initial_seed())
            self._paired[address] = (generator, made)
        return self._paired[address][1]


def _is_generator(value: Any) -> bool:
    return isinstance(value, torch._C.Generator)


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


# --- a cell --------------------------------------------------------------------------------------


def cell(device: str) -> Iterator[Row]:
    """Record data, train, evaluate and save, as a run does."""
    from bench.plan import config, grid
    from bench.training.runner import ExecutionOptions, run_cell

    with tempfile.TemporaryDirectory(prefix="om2p-bench-doctor-") as folder:
        made = config.make_config(
            algorithms=("om2p",), datasets=("mpe/spread/random",), seeds=(0,), preset="smoke",
            size=2000, overrides=CELL, data_dir=Path(folder) / "data",
        )  # fmt: skip
        (planned,) = grid.cells(made)
        record = run_cell(planned, Path(folder) / planned.id, ExecutionOptions(device))
    if record.status != "done":
        yield failed("a whole cell", f"{record.status}: {record.error}", REPORT)
        return
    time, peaks = record.time, record.memory
    assert time is not None
    assert peaks is not None
    yield ok(
        "a whole cell",
        f"{time.ms_per_update:.1f} ms per update, torch's peak "
        f"{_mib(peaks.torch_peak_allocated_bytes or 0)}, NVML's {peaks.nvml_attribution}",
    )
