"""What a cell works with: its data, task, algorithm and sampler, and what can be said of them."""

from typing import Any

import algorithms
import datasets
from algorithms.base import TeamSpec
from bench import config, records
from bench.evaluation import probe_decentralised
from bench.grid import Cell
from bench.meters import cost, machine
from bench.meters.clock import Clock


class Session:
    """The parts of one cell, ready to train."""

    def __init__(self, cell: Cell, device: str, clock: Clock) -> None:
        """Load the data and build everything, charging the accounts `data` and `setup`."""
        self.cell, self.device = cell, device
        with clock("data"):
            self.dataset: Any = datasets.load(cell.dataset, **cell.data)
        with clock("setup"):
            self.card = self.dataset.card
            rules, prey = cell.data["rules"], cell.data["prey"]
            self.task = datasets.load_task(self.card["task"], rules=rules, prey=prey)
            self.spec = TeamSpec.from_dataset(self.dataset)
            self.algorithm = self._make_algorithm(cell.seed)
            self.sampler = self._make_sampler(cell.seed)

    def _make_algorithm(self, seed: int) -> Any:
        settings = config.build_settings(self.cell.algorithm, self.cell.settings)
        return algorithms.make(self.cell.algorithm, self.spec, settings, (seed,), self.device)

    def _make_sampler(self, seed: int) -> Any:
        windows = self.algorithm.trajectory
        if windows is None:
            return self.dataset.sampler(self.cell.run["batch_size"], 1, (seed,), self.device)
        return self.dataset.sequences(
            windows.batch_size,
            windows.horizon,
            windows.history,
            windows.discount,
            seeds=(seed,),
            device=self.device,
        )

    def describe(self, record: dict[str, Any]) -> None:
        """Fill the sections of a record that do not change while the cell runs."""
        algorithm = self.algorithm
        record["algorithm"] |= {
            "observes": algorithm.observes,
            "sampling_steps": algorithm.sampling_steps,
        }
        score = self.task.score(self.card["returns"]["mean"])
        record["dataset"] |= records.dataset_section(self.card, score)
        record["references"] = records.references_section(self.task)
        record["machine"] = machine.describe(self.device)
        record["versions"] = machine.versions()
        record["cost"] = self._cost()

    def _cost(self) -> dict[str, int]:
        """Measure the repeatable costs on an algorithm and a batch that training never sees."""
        batch = self._make_sampler(0).next()
        return cost.measure(lambda: self._make_algorithm(0), batch, self._present(batch))

    def _present(self, batch: Any) -> Any:
        """Return the observations (M, B, O) of transitions, or of the present of windows."""
        windows = self.algorithm.trajectory
        return batch.observation if windows is None else batch.observation[:, :, windows.history]

    def probe(self) -> None:
        """Hold the policy to what it says it observes; BenchError if it sees more."""
        probe_decentralised(self.algorithm, self._present(self._make_sampler(0).next()))
