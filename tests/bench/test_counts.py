"""Counts compared with arithmetic: FLOPs, parameters, and the bytes of living tensors."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import algorithms
import datasets
from algorithms.contract.examples import batch_for, team, windows_for
from algorithms.device.dispatch import flops
from bench.meters import counts
from bench.plan import presets, resolve
from bench.plan.grid import cells

MEMBERS, BATCH, WIDE, HIDDEN, OUT = 3, 8, 18, 32, 2


class Toy(nn.Module):
    """A stacked two-layer policy with a target copy, trained by a squared loss."""

    num_replicas = 1

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(MEMBERS, WIDE, HIDDEN, generator=generator))
        self.second = nn.Parameter(torch.randn(MEMBERS, HIDDEN, OUT, generator=generator))
        self.target = nn.Parameter(self.first.detach().clone(), requires_grad=False)
        self.optimiser = torch.optim.Adam([self.first, self.second])

    def acting_parameters(self) -> list[nn.Parameter]:
        return [self.first, self.second]

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.bmm(torch.relu(torch.bmm(observation, self.first)), self.second)

    def update(self, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        loss = (self(batch[0]) - batch[1]).square().sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"loss": loss.detach()[None]}

    def act(self, observation: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self(observation), None


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(MEMBERS, BATCH, WIDE, generator=generator),
        torch.randn(MEMBERS, BATCH, OUT, generator=generator),
    )


def test_flops_and_parameters_are_those_of_the_matrix_products() -> None:
    result = counts.measure(Toy, batch(), batch()[0])
    layers = WIDE * HIDDEN + HIDDEN * OUT
    assert result["parameters"] == MEMBERS * layers
    assert result["parameters_act"] == MEMBERS * layers
    assert result["parameters_target"] == MEMBERS * WIDE * HIDDEN
    assert result["flops_act"] == 2 * MEMBERS * layers
    # forward, weight gradients, and the gradient of the hidden layer only
    assert result["flops_update"] == 2 * MEMBERS * BATCH * (2 * layers + HIDDEN * OUT)


def test_peak_bytes_repeat_exactly_and_training_is_untouched() -> None:
    algorithm, state = Toy(), torch.random.get_rng_state()
    before = [parameter.clone() for parameter in algorithm.parameters()]
    peaks = {counts.measure(Toy, batch(), batch()[0])["peak_tensor_bytes"] for _ in range(3)}
    assert len(peaks) == 1
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before, algorithm.parameters(), strict=True))
    inputs = 4 * (MEMBERS * BATCH * (WIDE + OUT))
    weights = 4 * MEMBERS * (WIDE * HIDDEN + HIDDEN * OUT)
    # at least weights, gradients, both Adam moments, the target, and the inputs
    assert peaks.pop() > 4 * weights + 4 * MEMBERS * WIDE * HIDDEN + inputs


def test_the_peak_is_split_by_what_the_bytes_are_for() -> None:
    result = counts.measure(Toy, batch(), batch()[0])
    split, weights = result["peak_split"], 4 * MEMBERS * (WIDE * HIDDEN + HIDDEN * OUT)
    assert sum(split.as_json().values()) == result["peak_tensor_bytes"]
    assert split["parameters"] == weights + 4 * MEMBERS * WIDE * HIDDEN  # and the target
    assert split["optimiser"] == 2 * weights + 2 * 4  # two moments, and a step count per tensor
    assert split["other"] == 4 * MEMBERS * BATCH * (WIDE + OUT)


def test_operations_are_those_that_reach_the_dispatcher() -> None:
    result = counts.measure(Toy, batch(), batch()[0])
    assert result["operations_act"] == 3  # bmm, relu, bmm
    assert result["evaluations_act"] == {"total": 0.0}  # no network of ours in it
    with counts.PeakTensorBytes(()) as counter:
        torch.ones(2) + torch.ones(2)
    assert counter.operations == 3


def follow(work: Callable[[], object], resident: object = ()) -> counts.PeakTensorBytes:
    with counts.PeakTensorBytes(resident) as memory:
        work()
    return memory


def test_what_lives_at_once_is_added_and_what_is_freed_is_not() -> None:
    def one_after_another() -> None:
        for _ in range(5):
            torch.empty(100)

    def side_by_side() -> None:
        kept = [torch.empty(100) for _ in range(5)]
        assert len(kept) == 5

    assert follow(one_after_another).peak == 400
    memory = follow(side_by_side)
    assert memory.peak == 2000
    assert memory.living == 0


def test_views_and_residents_count_once() -> None:
    weight = torch.zeros(10, 10)

    def work() -> None:
        views = [weight.t(), weight[:5], weight.view(100)]
        product = views[0] @ views[0]
        assert product.shape == (10, 10)

    assert follow(work, resident=[weight, {"same": weight}]).peak == 400 + 400


def test_a_resident_that_is_freed_makes_room() -> None:
    holder = {"gradient": torch.zeros(1000)}

    def work() -> None:
        holder.clear()
        torch.empty(500)

    assert follow(work, resident=holder).peak == 4000


def test_tensors_are_found_in_modules_optimisers_containers_and_gradients() -> None:
    toy = Toy()
    toy.update(batch())
    result = {tensor.untyped_storage()._cdata for tensor in counts.tensors_in((toy, [batch()]))}
    moments = [state["exp_avg"] for state in toy.optimiser.state.values()]
    gradients = [p.grad for p in (toy.first, toy.second)]
    assert all(g is not None for g in gradients)
    for tensor in [toy.first, toy.target, *moments, *gradients]:
        assert tensor is not None
        assert tensor.untyped_storage()._cdata in result


@pytest.mark.parametrize("size", [1, 1000])
def test_the_peak_grows_with_the_batch(size: int) -> None:
    def work() -> None:
        (torch.zeros(size, 4) @ torch.zeros(4, 4)).sum()

    assert follow(work).peak == 4 * (size * 4 + 16 + size * 4)


def example(name: str, rows: int = 16) -> tuple[Callable[[], Any], Any, torch.Tensor]:
    """Return what makes a small algorithm, a batch for it, and the observations to act upon."""
    values = resolve.resolve_settings(name, presets.load("smoke"), {}, updates=1)
    settings = resolve.build_settings(name, values)
    made = algorithms.make(name, team(), settings)
    windows = made.trajectory
    if windows is None:
        batch = batch_for(team(), rows=rows, next_actions=made.next_actions)
        present = batch.observation
    else:
        batch = windows_for(team(), windows.history + windows.horizon, rows=rows)
        present = batch.observation[:, :, windows.history]
    return lambda: algorithms.make(name, team(), settings), batch, present


@pytest.mark.parametrize("name", algorithms.names())
def test_every_algorithm_can_be_measured(name: str) -> None:
    """The counters hook modules, also where an algorithm differentiates inside them."""
    make, batch, present = example(name)
    measured = counts.measure(make, batch, present)
    assert measured["flops_update"] > 0
    assert measured["flops_act"] > 0
    # Planning, and IFQL's 32 flows of ten steps, take more than learning from a batch this small.
    if make().trajectory is None and name != "ifql":
        assert measured["flops_update"] > measured["flops_act"]
    assert measured["peak_tensor_bytes"] == sum(measured["peak_split"].as_json().values())
    assert measured["peak_split"]["gradients"] > 0
    assert measured["operations_update"] > measured["evaluations_update"]["total"] > 0
    algorithm = make()
    with FlopCounterMode(display=False) as counter:  # torch's own
        algorithm.update(batch)
    assert measured["flops_update"] == counter.get_total_flops()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        algorithm.act(present[:, :1])
    assert measured["flops_act"] == counter.get_total_flops()


def test_composite_operations_count_in_inference_mode() -> None:
    layer, rows = nn.Linear(3, 5), torch.zeros(7, 3)
    with torch.inference_mode():
        assert flops(layer, rows) == 2 * 7 * 3 * 5
        with FlopCounterMode(display=False) as counter:
            layer(rows)
    assert counter.get_total_flops() == 2 * 7 * 3 * 5


def test_a_cell_does_not_import_the_compiler(
    make_config: Callable[..., Any], tmp_path: Path
) -> None:
    """The compiler would cost every worker two seconds and a hundred megabytes."""
    (cell,) = cells(make_config(algorithms=("om2p",)))
    datasets.load(cell.dataset, **cell.data)
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from bench.plan import grid\nfrom bench.training import runner\n"
        "cell = grid.from_dict(json.load(sys.stdin))\n"
        "execution = runner.ExecutionOptions(device='cpu')\n"
        "record = runner.run_cell(cell, Path(sys.argv[1]), execution)\n"
        "assert record['status'] == 'done', record['error']\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "cell"],
        input=json.dumps(cell.as_dict()),
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    ("name", "update", "act"),
    [
        # one denoising loss, five solver steps with gradient; five more of the average; Q of the
        # recorded action and two others, and of the solver's
        ("dom2", {"policy": 6, "average_policy": 5, "critic": 4, "target_critic": 1}, 5),
        # regression, second point of the difference, next action, action of the Q term
        ("om2p", {"policy": 4, "critic": 2, "target_critic": 1}, 1),
        ("flow-bc", {"policy": 1}, 10),
    ],
)
def test_network_evaluations_are_counted_by_network(
    name: str, update: dict[str, int], act: int
) -> None:
    make, batch, present = example(name)
    measured = counts.measure(make, batch, present)
    assert measured["evaluations_update"] == {**update, "total": sum(update.values())}
    assert measured["evaluations_act"]["total"] == act == make().sampling_steps


def test_counting_evaluations_leaves_the_algorithm_as_it_was() -> None:
    make, batch, _ = example("om2p")
    algorithm = make()
    before = [set(vars(module)) for module in algorithm.modules()]
    with counts.counted_evaluations(algorithm, 16):
        algorithm.update(batch)
    assert [set(vars(module)) for module in algorithm.modules()] == before


class NoModules:
    """Replaces the hooks of MemTracker on modules, which fail on our target networks."""

    parents, is_bw = {"Global"}, False

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def register_user_hooks(self, *_: object) -> None: ...

    def clear_user_hooks(self) -> None: ...


@pytest.mark.parametrize("name", ["om2p", "om2p-batch-jacobian", "dom2", "fql", "bc"])
def test_the_peak_is_the_one_that_pytorchs_own_tracker_finds(name: str) -> None:
    """To the byte, and so is its split; the tracker is private to torch and may be missing."""
    tracker = pytest.importorskip("torch.distributed._tools.mem_tracker").MemTracker()
    tracker._mod_tracker = NoModules()
    make, batch, present = example(name)
    measured = counts.measure(make, batch, present)
    algorithm = make()
    algorithm.update(batch)  # as `measure` does before it counts
    algorithm.update(batch)
    holders = nn.Module()
    adam = torch.optim.Adam([torch.zeros(1)])  # a holder: the tracker knows torch's classes only
    for index, network in enumerate(algorithm.trained_networks()):
        flat = nn.Parameter(network.flat.detach())
        flat.grad = network.flat.grad
        holders.register_parameter(str(index), flat)
        adam.state[flat] = algorithm.optimiser.state[index]
    tracker.track_external(holders, algorithm, adam)
    rest = [t for t in counts.tensors_in((algorithm, batch))
            if t.untyped_storage() not in tracker._WINFO]  # fmt: skip
    tracker.track_external(*rest)
    with tracker:
        algorithm.update(batch)
    snapshot = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]
    result = {str(getattr(kind, "value", kind)): size for kind, size in snapshot.items()}
    split = measured["peak_split"]
    assert result["Total"] == measured["peak_tensor_bytes"]
    assert result["Parameter"] == split["parameters"]
    assert result["Gradient"] == split["gradients"]
    assert result["Optstate"] == split["optimiser"]
    assert result["Other"] + result["Buffer"] == split["other"]
    assert result["Activation"] + result["Temp"] == split["activations"]
