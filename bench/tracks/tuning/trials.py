"""From a request to trials, and from trials to ordinary cells."""

import dataclasses

from algorithms.settings import Dimension
from bench.errors import BenchError
from bench.outside import Overrides, Settings
from bench.plan import grid, plugins
from bench.plan.config import RunConfig
from bench.plan.flags import PAIRED, swept
from bench.plan.grid import Cell
from bench.study.resume import StudyPlan, plan_study
from bench.tracks.tuning import DATA_SEED, START_SEED, sequence
from datasets.protocol import PROTOCOL

APART = 1_000_000  # more than the episodes of any evaluation, whose seeds count upwards


@dataclasses.dataclass(frozen=True)
class Planned:
    """A tuning before it runs. Trials of several algorithms stand side by side, trial by trial."""

    config: RunConfig  # what all trials share
    sequence_seed: int
    spaces: dict[str, dict[str, Dimension]]  # by algorithm
    tried: dict[str, list[Settings]]  # what trials change of the preset, by algorithm
    cells: list[Cell]  # each once, in the order in which they run
    of: dict[tuple[str, int], list[Cell]]  # of an algorithm and a trial
    notes: list[str]

    def study(self, config: RunConfig) -> StudyPlan:
        """Return what a run would do, round by round."""
        rounds: dict[str, int] = {}
        for (_, trial), cells in self.of.items():
            for cell in cells:
                rounds.setdefault(cell.id, trial)
        return dataclasses.replace(plan_study(config, lambda _: self.cells), rounds=rounds)

    def overrides_of(self, cell: Cell) -> Overrides:
        """Return the overrides that make a cell its trial."""
        for (name, trial), cells in self.of.items():
            if name == cell.algorithm and any(one.id == cell.id for one in cells):
                changes = self.tried[name][trial]
                return {f"{name}.{key}": value for key, value in changes.items()}
        raise KeyError(cell.id)


def plan(config: RunConfig, trials: int, updates: int, sequence_seed: int) -> Planned:
    """Return all trials of a tuning, trial 0 of every algorithm before trial 1 of any.

    What is finished when a tuning is stopped is then a whole for all algorithms. Raises BenchError
    for data or start states that tables use.
    """
    if config.parts or any(map(swept, config.overrides.values())):
        raise BenchError(
            "a tuning tries settings by itself: take groups and sweeps out of its study file"
        )
    plugins.load_all(config.plugins)
    config = _shared(config, updates)
    names = grid.algorithms_of(config)
    spaces = {name: sequence.space_of(name, config.overrides) for name in names}
    tried = {name: sequence.tried(space, trials, sequence_seed) for name, space in spaces.items()}
    cells: dict[str, Cell] = {}
    of: dict[tuple[str, int], list[Cell]] = {
        (name, at): [] for name in names for at in range(trials)
    }
    for trial in range(trials):
        changes = {
            f"{name}.{key}": value for name in names for key, value in tried[name][trial].items()
        }
        for cell in grid.cells(config.replace(overrides={**config.overrides, **changes})):
            of[cell.algorithm, trial].append(cells.setdefault(cell.id, cell))
    distinct = list(cells.values())
    return Planned(config, sequence_seed, spaces, tried, distinct, of, _notes(distinct))


def _shared(config: RunConfig, updates: int) -> RunConfig:
    """Return the configuration of all trials, evaluated once, at the end."""
    if config.data_seed in (PAIRED, 0):
        raise BenchError(
            f"--data-seed {config.data_seed} is a recording that `run` learns from: tune on "
            f"another one, such as --data-seed {DATA_SEED}"
        )
    if abs(config.start_seed - PROTOCOL.seed) < APART:
        raise BenchError(
            f"--start-seed {config.start_seed} gives start states that tables use: tune on "
            f"others, such as --start-seed {START_SEED}"
        )
    if config.tuned:
        raise BenchError("--tuned uses values that others have chosen: leave it out of a tuning")
    if "run.updates" in config.overrides:
        raise BenchError("--set run.updates is not for a tuning, which takes --updates N")
    usual = {"run.updates": updates, "run.evaluate_every": updates}
    return config.replace(overrides={**usual, **config.overrides})


def _notes(cells: list[Cell]) -> list[str]:
    """Say which data have no other recording to be tuned on."""
    single = dict.fromkeys(cell.dataset for cell in cells if cell.recipe["data_seed"] is None)
    return [
        f"{name} is a single recording: it is tuned on the data that tables use, and only the "
        "start states are others"
        for name in single
    ]
