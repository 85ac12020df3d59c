"""Run parts of the suite on the stand-in for a GPU, and print what came out as JSON.

    python -m tests.on_standin algorithms | harness FOLDER DATA

A process of its own: the stand-in registers a device with torch, which is for good.
"""

import dataclasses
import io
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

import algorithms
import algorithms.base
from algorithms.contract.examples import stacked, team
from algorithms.contract.subject import Subject
from algorithms.device import graphs_check, replicas
from algorithms.device.sync import NoHostSync
from algorithms.kernels.choice import using
from tests import standin_cuda
from tests.standin_cuda import NAME, GpuTensor

SEEDS = (0, 1)
# Forward-mode differentiation does not go through tensors of Python's own making.
ON_META = {name for name in algorithms.TABLE if "jvp" in name}


def main() -> None:
    """Run the part that the command line names, and print its result."""
    what, *arguments = sys.argv[1:]
    torch.set_num_threads(1)
    standin_cuda.register()
    if what == "algorithms":
        answer = {name: attempt(lambda name=name: algorithm(name)) for name in algorithms.TABLE}
        answer |= {"faults": faults(), "moved": attempt(moved_network)}
    else:
        answer = {"cells": cells(*arguments), "doctor": doctor(), "measure": measure()}
    print(json.dumps(answer))


def attempt(work: Callable[[], str]) -> str:
    """Return what `work` found, "equal" at best, or the last line of its traceback."""
    try:
        return work()
    except Exception:
        return traceback.format_exc()[-1500:]


# --- algorithms ----------------------------------------------------------------------------------


def algorithm(name: str) -> str:
    """Update, act, save, load, split and join on both devices; "equal", or what differs."""
    if name in ON_META:
        return on_meta(name)
    with using("torch"):
        reference = trace(name, "cpu")
        with standin_cuda.installed():
            seen = trace(name, NAME)
    different = [key for key in reference if not close(reference[key], seen[key])]
    return f"differs in {', '.join(different)}" if different else "equal"


def trace(name: str, device: str) -> dict[str, Any]:
    """Return everything that two updates and an action of two seeds leave behind, on the CPU."""
    subject = Subject(name)
    batch = subject.batch(rows=8)
    batch = moved(stacked([batch] * len(SEEDS)), device)
    learner = made(name, device)
    with NoHostSync() as waits:
        metrics = [learner.update(batch) for _ in range(2)]
    assert device == "cpu" or all(map(on_device, learner.parameters())), "parameters on the CPU"
    windows = learner.trajectory
    present = batch.observation if windows is None else batch.observation[:, :, windows.history]
    generators = [torch.Generator(device).manual_seed(seed) for seed in SEEDS]
    action, memory = learner.act(present, None, generators)
    action, _ = learner.act(present, memory, generators)
    state = saved(learner.state_dict())
    back = made(name, device)
    back.load_state_dict(state)
    parts = replicas.split(learner, learner.state_dict())
    joined = made(name, device)
    joined.load_state_dict(replicas.join(joined, saved(parts)))
    return {
        "waits of the host": sorted(waits.seen),
        "metrics": home(metrics),
        "parameters": home(learnt(learner)),
        "actions": home(action),
        "an update after loading": home(back.update(batch)),
        "an update after splitting": home(joined.update(batch)),
        "the update itself": home(learner.update(batch)),
    }


def learnt(learner: Any) -> dict[str, torch.Tensor]:
    """Return the parameters whose gradient is more than rounding: Adam takes others far."""
    noise = graphs_check._noise(learner)
    return {
        name: value
        for name, value in learner.named_parameters()
        if name.partition(".")[2] not in noise
    }


def faults() -> list[str]:
    """Return what the stand-in says of the mistakes that it is there to find."""
    with standin_cuda.installed():
        there, here = torch.zeros(3, device=NAME), torch.ones(3)
        mistakes: list[Callable[[], Any]] = [
            lambda: there + here,
            lambda: there.copy_(here) + here,
            lambda: torch.randn(3, device=NAME, generator=torch.Generator()),
            lambda: torch.randn(3, generator=torch.Generator(NAME)),
            lambda: there[here.long()],
            there.numpy,
            lambda: there.copy_(here) + 2.0 * torch.tensor(3.0),  # no mistake
        ]
        return [attempt(lambda work=work: str(work().device)) for work in mistakes]


def moved_network() -> str:
    """Move a network that was made on the CPU; its forward pass must use the moved parameters."""
    from algorithms.parts.networks import MemberMLP

    network = MemberMLP([torch.Generator().manual_seed(0)], 2, (3, 4, 2), "gelu")
    x = torch.ones(2, 5, 3)
    expected = network(x).detach()
    with standin_cuda.installed():
        network.flatten()
        network.to(NAME)
        there = x.to(NAME)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.0)
        zero = bool((network(there) == 0).all().item())
        before = expected.abs().max().item() > 0
    return "equal" if zero and before else "the forward pass uses other parameters"


def made(name: str, device: str) -> Any:
    """Return a narrow learner of two seeds on a device."""
    settings = Subject(name).settings(solver_steps=2, diffusion_steps=4)
    return algorithms.make(name, team(), settings, SEEDS, device)


def on_meta(name: str) -> str:
    """Update and act on torch's meta device, whose tensors have no values; say so."""

    class Generator(torch._C.Generator):
        def __new__(cls, device: Any = "cpu") -> "Generator":
            return super().__new__(cls, "cpu")

    batch = moved(stacked([Subject(name).batch(rows=8)] * len(SEEDS)), "meta")
    with standin_cuda.mock.patch.object(torch, "Generator", Generator):
        learner = made(name, "meta")
        metrics = learner.update(batch)
        action, _ = learner.act(batch.observation)
    everything = [*metrics.values(), action, *learner.parameters()]
    return "equal" if {value.device.type for value in everything} == {"meta"} else "on the CPU"


def moved(batch: Any, device: str) -> Any:
    """Return a batch on a device."""
    return type(batch)(*(None if field is None else field.to(device) for field in batch))


def on_device(value: torch.Tensor) -> bool:
    return isinstance(value.data, GpuTensor) or value.device.type == NAME


def saved(state: Any) -> Any:
    """Return a state as a checkpoint gives it back."""
    content = io.BytesIO()
    torch.save(state, content)
    content.seek(0)
    return torch.load(content, map_location="cpu", weights_only=True)


def home(value: Any) -> Any:
    """Return tensors on the CPU, however deep they lie."""
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.detach().cpu().clone(), value)


def close(first: Any, second: Any) -> bool:
    """Tell whether two trees are equal up to the order in which gradients are added."""
    left, right = map(pytree.tree_leaves, (first, second))
    return len(left) == len(right) and all(
        torch.allclose(one, other, rtol=1e-4, atol=1e-6)
        if isinstance(one, torch.Tensor)
        else one == other
        for one, other in zip(left, right, strict=True)
    )


# --- the harness: cells, the sampler, evaluation and meters --------------------------------------


def cells(folder: str, data: str) -> dict[str, Any]:
    """Run small cells on both devices, one of them interrupted, and two seeds together."""
    from bench.plan import config, grid
    from bench.results import store
    from bench.training.runner import ExecutionOptions, run_cell, run_cells
    from tests.bench.conftest import DATASET, SIZE, SMALL
    from tests.bench.runs import numbers, stop_after

    few = {"run.updates": 20, "run.evaluate_every": 10, "run.checkpoint_every": 10,
           "run.evaluation_episodes": 2, "run.final_episodes": 4}  # fmt: skip

    def cell(name: str, seed: int) -> Any:
        made = config.make_config(
            overrides={**SMALL, **few, "run.kernels": "torch"}, algorithms=(name,), seeds=(seed,),
            datasets=(DATASET,), preset="smoke", size=SIZE, data_dir=Path(data), device="cpu",
        )  # fmt: skip
        return grid.cells(made)[0]

    together = [cell("om2p", 0), cell("om2p", 1)]
    alone = cell("bc", 0)
    root, there = Path(folder), ExecutionOptions(device=NAME)
    for one in (*together, alone):
        run_cell(one, root / "cpu" / one.id, ExecutionOptions())
    with standin_cuda.installed() as driver:
        run_cells(together, root / "gpu", there)
        run_cell(alone, root / "gpu" / alone.id, there, stop=stop_after(12))
        run_cell(alone, root / "gpu" / alone.id, there)
        calls = dict(driver.calls)
    records = [store.read_run(root / "gpu" / one.id) for one in (*together, alone)]
    done = [record.status == "done" for record in records]
    return {
        "errors": [record.error for record in records],
        "equal": all(done)
        and all(
            numbers(root / "cpu" / one.id) == numbers(root / "gpu" / one.id)
            for one in (*together, alone)
        ),
        "records": [record.as_json() for record in records],
        "calls": calls,
    }


def measure() -> dict[str, Any]:
    """Measure an algorithm as the efficiency track does, with a clock that ticks by itself."""
    from bench.meters import latency
    from bench.tracks.efficiency import timing
    from bench.tracks.efficiency.subject import Subject as Measured

    ticks = iter(range(10**9))
    timing.time = type("Ticks", (), {  # type: ignore[assignment]
        "perf_counter": lambda: next(ticks) * 1e-3, "process_time": lambda: next(ticks) * 1e-3,
    })  # fmt: skip
    settings = Subject("om2p").settings()
    job = {
        "algorithm": "om2p", "settings": dataclasses.asdict(settings), "agents": 3, "batch": 8,
        "device": NAME, "variants": [("torch", 1), ("torch", 2)],
    }  # fmt: skip
    with standin_cuda.installed() as driver:
        subject = Measured(job)
        times = timing.all_times(subject, 0.05)
        rates = timing.calibration(NAME)
        timed = latency.measure(subject.make, subject.present, lambda: next(ticks) * 1e-3)
    return {
        "variants": len(times["variants"]), "rates": len(rates), "calls": dict(driver.calls),
        "latency": timed["calls"],
    }  # fmt: skip


def doctor() -> dict[str, Any]:
    """Let the doctor examine a GPU that is well, and one that is not; CUDA graphs left out."""
    from bench.doctor import gpu, report

    def rows(*names: str) -> dict[str, str]:
        listed = [one for one in gpu.checks(NAME, names) if not one[0].startswith("CUDA graphs")]
        seen = {row.check: row for row in report.examine(listed)}
        return {check: f"{row.status}: {row.detail}" for check, row in seen.items()}

    with standin_cuda.installed():
        well = rows("bc", "om2p")
        patch = standin_cuda.mock.patch.object
        base = algorithms.base.Algorithm
        moved, step = gpu._moved, base.step

        def waiting(learner: Any, *arguments: Any) -> Any:
            metrics = step(learner, *arguments)
            next(iter(metrics.values())).tolist()
            return metrics

        def wrong(batch: Any, device: str) -> Any:
            there = moved(batch, device)
            return there._replace(action=-there.action)

        with patch(gpu, "_moved", wrong), patch(base, "step", waiting):
            ill = rows("bc")
    return {"well": well, "ill": ill}


if __name__ == "__main__":
    main()
