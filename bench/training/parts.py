"""The parts of a cell: its data, task, algorithm and sampler, and what a record says of them."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import algorithms
import datasets
from algorithms.base import Metrics, TeamSpec
from algorithms.device import cuda, graphs, graphs_check, replicas
from algorithms.kernels import library
from algorithms.kernels.choice import using
from algorithms.kernels.compiler import Unavailable
from bench.errors import BenchError
from bench.meters import counts, latency, machine
from bench.meters.clock import Clock
from bench.meters.nvml import Gpu
from bench.outside import Card, StateDict
from bench.plan import resolve
from bench.plan.grid import Cell
from bench.results import record as sections
from bench.training.checkpoint import Checkpoint
from bench.training.evaluation import probe_decentralised
from datasets.recorded.sampler import PairedSampler
from datasets.views.playing import played


class Parts:
    """The parts of one cell, or of cells that differ in the seed alone, ready to train.

    Where seeds are paired with recordings, every replica draws from its own.

    `update` takes one gradient step: `algorithm.update`, replayed from a CUDA graph where the cell
    asks for it.
    """

    update: Callable[[Any], Metrics]

    def __init__(
        self, cells: Sequence[Cell], device: str, clock: Clock, kernels: str = "auto"
    ) -> None:
        """Load the data and build everything for `cells`, charging `data` and `setup`.

        kernels: what is to compute the networks, as in `run.kernels`.
        """
        self.cell = cell = cells[0]
        self.device, self.clock, self.kernels = device, clock, kernels
        self.graphed = cell.run.cuda_graphs
        if self.graphed and not cuda.is_cuda(device):
            raise BenchError(resolve.GRAPHS_NEED_GPU)
        with clock("data"):
            self._recordings = {_data_of(cell): cell for cell in cells}
            self.datasets: dict[str, datasets.Dataset] = {
                name: datasets.load(one.dataset, **one.data)
                for name, one in self._recordings.items()
            }
        with clock("setup"):
            recipe, prey = cell.recipe, cell.data["prey"] or cell.recipe["prey"]
            task = datasets.load_task(
                recipe["task"],
                recipe["rules"],
                prey,
                recipe_version=recipe.get("recipe_version"),
            )
            self.task = played(task, cell.dataset)
            self.build(cells)

    def build(self, cells: Sequence[Cell]) -> None:
        """Make algorithm and sampler anew, for one replica per cell."""
        seeds = tuple(cell.seed for cell in cells)
        self._data = [self.datasets[_data_of(cell)] for cell in cells]  # by replica
        specs = [TeamSpec.from_dataset(dataset) for dataset in self._data]
        self.spec = specs[0] if len(self.datasets) == 1 else TeamSpec.joined(specs)
        self.algorithm = self._make_algorithm(*seeds)
        self.sampler = self._make_sampler(*seeds)
        self.update = self._graphs(self.algorithm).update if self.graphed else self.algorithm.update

    def _graphs(self, algorithm: Any) -> graphs.GraphedUpdates:
        return graphs.GraphedUpdates(algorithm, functools.partial(self.clock, "compile"))

    def _make_algorithm(self, *seeds: int) -> Any:
        settings = resolve.build_settings(self.cell.algorithm, self.cell.settings)
        with using(self.kernels):
            return algorithms.make(self.cell.algorithm, self.spec, settings, seeds, self.device)

    def _make_sampler(self, *seeds: int) -> Any:
        if len(self.datasets) == 1 or len(seeds) == 1:
            return self._sampler_of(self._data[0], seeds)
        pairs = zip(self._data, seeds, strict=True)
        return PairedSampler([self._sampler_of(data, (seed,)) for data, seed in pairs])

    def _sampler_of(self, dataset: Any, seeds: tuple[int, ...]) -> Any:
        run, windows = self.cell.run, self.algorithm.trajectory
        if windows is None:
            return dataset.sampler(
                run.batch_size,
                len(seeds),
                seeds,
                self.device,
                reweight=run.reweight,
                next_actions=self.algorithm.next_actions,
            )
        return dataset.sequences(
            windows.batch_size,
            windows.horizon,
            windows.history,
            windows.discount,
            replicas=len(seeds),
            seeds=seeds,
            device=self.device,
            reweight=run.reweight,
        )

    # --- states of single replicas ---------------------------------------------------------------

    def states(self) -> tuple[list[StateDict], list[StateDict]]:
        """Return the states of algorithm and sampler, replica by replica."""
        drawn = self.sampler.state_dict()
        return (
            replicas.split(self.algorithm, self.algorithm.state_dict()),
            [{**drawn, "generators": [generator]} for generator in drawn["generators"]],
        )

    def load_states(self, learnt: list[StateDict], drawn: list[StateDict]) -> None:
        """Put the states of single replicas into algorithm and sampler."""
        self.algorithm.load_state_dict(replicas.join(self.algorithm, learnt))
        generators = [generator for state in drawn for generator in state["generators"]]
        self.sampler.load_state_dict({**drawn[0], "generators": generators})

    # --- before training -------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Take the first, slow updates with algorithms that are thrown away.

        Counting costs needs one. Where CUDA graphs are asked for, two more compare replays with
        eager updates: AlgorithmError if they differ.
        """
        self._cost  # noqa: B018  (counted once)
        if self.graphed:
            seeds = self.algorithm.seeds
            replayed, eager = self._make_algorithm(*seeds), self._make_algorithm(*seeds)
            graphs_check.check(
                self._graphs(replayed),
                eager,
                self._make_sampler(*seeds).next,
                self.cell.run.updates,
            )

    def checksum(self, replica: int) -> str:
        """Return the checksum of the recording that a replica learns from."""
        return str(self._data[replica].card["checksum"])

    def check_unchanged(self) -> None:
        """Refuse data that changed on disk since they were loaded."""
        for dataset in self.datasets.values():
            dataset.check_unchanged()

    def describe(self, replica: int, record: sections.Record, gpu: Gpu) -> None:
        """Fill the sections of a replica's record that do not change while the cell runs."""
        record.algorithm.observes = self.algorithm.observes
        record.algorithm.sampling_steps = self.algorithm.sampling_steps
        self._describe_data(self._data[replica].card, record.dataset)
        record.references = sections.References(
            random=_reference(self.task.random_return), expert=_reference(self.task.expert_return)
        )
        record.machine = machine.describe(self.device, gpu, self.algorithm.kernels.name)
        record.versions = machine.versions()
        record.cost = self._cost

    def _describe_data(self, card: Card, section: sections.Dataset) -> None:
        """Fill what the recorded data say of themselves."""
        mean = card["returns"]["mean"]
        section.card, section.checksum = sections.readable_card(card), card["checksum"]
        section.size = card["n_transitions"]
        section.return_mean, section.score = mean, self.task.score_if_known(mean)

    def time_actions(self) -> sections.Latency:
        """Return how long a joint action takes, measured on an algorithm of its own."""
        batch = self._make_sampler(0).next()
        make = functools.partial(self._make_algorithm, 0)
        return latency.measure(make, self._present(batch))

    @functools.cached_property
    def _cost(self) -> sections.Cost:
        """Count the repeatable costs with an algorithm and a batch that training never sees."""
        batch = self._make_sampler(0).next()
        make = functools.partial(self._make_algorithm, 0)
        return counts.measure(make, batch, self._present(batch))

    def _present(self, batch: Any) -> Any:
        """Return the observations (M, B, O) of transitions, or of the present of windows."""
        windows = self.algorithm.trajectory
        return batch.observation if windows is None else batch.observation[:, :, windows.history]

    def probe(self) -> None:
        """Check that the policy observes only what it declares; BenchError if it sees more."""
        seeds = (0,) * self.algorithm.num_replicas
        probe_decentralised(self.algorithm, self._present(self._make_sampler(*seeds).next()))


def _data_of(cell: Cell) -> str:
    """Return what tells the recording of a cell from those of other cells of its group."""
    return sections.canonical(cell.data)


def _reference(measured: Any) -> sections.Reference | None:
    """Return the section of a task's reference return; None where it was not measured."""
    return None if measured is None else sections.Reference.filled(dataclasses.asdict(measured))


def choose_kernels(wanted: str, states: list[Checkpoint] | None) -> str:
    """Return what is to compute the networks: what checkpoints began with, else the setting.

    wanted: the setting `run.kernels`. Other kernels round otherwise, and an interrupted cell has to
    end in the same numbers: BenchError where it cannot continue with its own.
    """
    if states is None:
        return wanted
    names = {state.get("kernels", "torch") for state in states}
    if len(names) > 1:
        raise BenchError("their checkpoints come from different kernels")
    (begun,) = names
    if wanted not in ("auto", begun):
        raise BenchError(
            f"the cell began with kernels={begun} and cannot continue with {wanted}: leave "
            "run.kernels out, or begin anew with --resume never"
        )
    if begun == "c":
        try:
            library.load()
        except Unavailable as reason:
            raise BenchError(
                f"the cell began with the C kernels, which cannot be used here ({reason}): make "
                "them usable, or begin anew with --resume never"
            ) from reason
    return begun
