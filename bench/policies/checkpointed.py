"""Load the policy of a cell from its checkpoint, to evaluate it again or to use it elsewhere."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import algorithms
import datasets
from algorithms.base import TeamSpec
from algorithms.device import cuda
from algorithms.kernels.choice import using
from bench.errors import BenchError
from bench.plan import grid, plugins, resolve
from bench.policies.team import TeamPolicy
from bench.results import store
from bench.results.record import CHECKPOINT, RECORD, Record
from bench.training import checkpoint, devices
from bench.training.checkpoint import Checkpoint
from bench.training.evaluation import Evaluation, evaluate
from datasets.tasks import agent_names
from datasets.views.playing import played


class Policy(TeamPolicy):
    """The trained team of a cell: one observation per agent in, one action per agent out.

    >>> policy = bench.load_policy("0123456789ab", out="results")
    >>> actions = policy(observations)      # (N, O) array -> (N, A) array in [-1, 1]
    >>> actions = policy({"agent_0": ...})  # or dictionaries, as a ParallelEnv has them
    """

    def __init__(self, algorithm: Any, record: Record, seed: int | None = None) -> None:
        """Wrap an algorithm of one replica.

        seed: of the noise of sampled actions; without one it is drawn anew.
        """
        spec = algorithm.spec
        names = agent_names(spec.agents)
        super().__init__(record.cell, names, spec.observation_sizes, spec.action_sizes)
        self.algorithm, self.record = algorithm, record
        generator = torch.Generator(algorithm.device)
        generator.seed() if seed is None else generator.manual_seed(seed)
        self._generators = [generator]
        self._memory: Any = None

    def reset(self) -> None:
        """Begin a new episode: forget the history, if the policy keeps one.

        The random generators continue, so an episode does not repeat the noise of the last one.
        """
        self._memory = None

    @torch.no_grad()
    def _act(self, joint: np.ndarray) -> np.ndarray:
        """Return actions (N, A) for padded observations (N, 1, O)."""
        action, self._memory = self.algorithm.act(
            torch.from_numpy(joint).to(self.algorithm.device), self._memory, self._generators
        )
        actions: np.ndarray = action[:, 0].cpu().numpy()
        return actions


def load_policy(
    cell: str | Path,
    out: str | Path = "results",
    device: str = "cpu",
    seed: int | None = None,
    plugin: str | Path | None = None,
) -> Policy:
    """Return the trained team of a cell: its id in the results folder `out`, or its own folder.

    seed: of the noise of sampled actions; without one, policies loaded twice draw differently.
    plugin: the file that registers the algorithm, if it is not one of this package. Raises
    BenchError where the cell or an intact checkpoint is missing, the plug-in is not given, or this
    machine does not have the device.
    """
    _check_device(device)
    plugins.load_all([] if plugin is None else [plugin])
    folder = find_cell(cell, out)
    record, state = _load(folder)
    return Policy(_restore(record, state, device), record, seed)


def find_cell(cell: str | Path, out: str | Path) -> Path:
    """Return the folder of a cell given by id or as a folder; BenchError if there is none."""
    # By id it is a folder of its own; a link is followed only where the user names it as a folder.
    by_id, named = Path(out) / str(cell), Path(cell)
    for folder in (by_id, named):
        if (folder / RECORD).is_file() and not (folder == by_id != named and folder.is_symlink()):
            return folder.resolve()
    raise BenchError(
        f"there is no cell '{cell}' in {out}: `python -m bench status --out {out}` lists them"
    )


def task_of(record: Record, rules: str | None = None, prey: str | None = None) -> datasets.Task:
    """Return the task of a cell, under its own rules and against its own prey unless named.

    Its scores refer to the references of the recipe that recorded the cell's data.
    """
    row = store.flatten(record)
    task = datasets.load_task(
        row["task"],
        rules or row["rules"],
        prey or row["prey"],
        recipe_version=record.recipe_version,
    )
    return played(task, record.dataset.id)


def evaluate_again(
    folder: Path,
    episodes: int,
    device: str = "cpu",
    rules: str | None = None,
    prey: str | None = None,
) -> Evaluation:
    """Evaluate the last checkpoint of a cell by its own protocol; nothing is written.

    Its start states and horizon are those of the cell's record. Other
    versions of the protocol or of the task cannot be played: then `incomparable` says so.
    rules, prey: play under and against these instead of the cell's own.
    """
    _check_device(device)
    record, state = _load(folder)
    task = task_of(record, rules, prey)
    own = [list(state["spec"][name]) for name in ("observation_sizes", "action_sizes")]
    other = [list(task.observation_sizes), list(task.action_sizes)]
    if own != other:
        raise BenchError(
            f"the team of cell {record.cell} has observations and actions of sizes {own}, but "
            f"{task.id} under {task.rules} rules has {other}: evaluate it as it was trained"
        )
    protocol = grid.protocol_of(record)
    (result,) = evaluate(_restore(record, state, device), task, episodes, device, protocol)
    return result


def incomparable(folder: Path) -> str:
    """Say why a new evaluation of a cell cannot stand beside its own; empty where it can."""
    record = store.read_run(folder)
    then = ((record.protocol and record.protocol.version) or 1, record.dataset.task_version or 1)
    now = (grid.protocol_of(record).version, task_of(record).version)
    differing = [
        f"version {old} of the {what}, and this is version {new}"
        for what, old, new in zip(("protocol", "task"), then, now, strict=True)
        if old != new
    ]
    if not differing:
        return ""
    return (
        f"cell {record.cell} was scored by {'; by '.join(differing)}: do not compare the two scores"
    )


def _check_device(device: str) -> None:
    """Raise BenchError for a device that is unknown or missing, before anything is read."""
    devices.check(device, ("cpu", "cuda"))
    devices.require_gpu(device, cuda.is_available())


def _load(folder: Path) -> tuple[Record, Checkpoint]:
    """Return a cell's record and its newest whole checkpoint.

    A finished cell has results of its last update only: never the team of an earlier one.
    """
    record = store.read_run(folder)
    state, complaints = checkpoint.load(folder, record.cell)
    if state is None:
        reason = complaints[0] if complaints else "it has not trained yet"
        raise BenchError(
            f"cell {record.cell} has no usable checkpoint ({reason}): run the cell again"
        )
    update = int(state["update"])
    if record.status == "done" and update != (record.updates_done or update):
        reason = complaints[0] if complaints else f"{CHECKPOINT} is missing"
        raise BenchError(
            f"cell {record.cell} ended after {record.updates_done} updates, and its last "
            f"checkpoint cannot be used ({reason}): run the cell again with --resume always"
        )
    for complaint in complaints:
        warnings.warn(f"{complaint}; the checkpoint before it is used", stacklevel=3)
    return record, state


def _restore(record: Record, state: Checkpoint, device: str) -> Any:
    """Rebuild the algorithm of a checkpoint; neither dataset nor training is needed."""
    try:
        name, version = record.algorithm.name, record.algorithm.version
        plugins.require(record)
        if algorithms.row(name).version != version:
            raise BenchError(
                f"cell {record.cell} was trained with version {version} of {name}, but this is "
                f"version {algorithms.row(name).version}: use the om2p-bench that trained it"
            )
        settings = resolve.build_settings(name, record.config.algorithm)
        spec = TeamSpec(**state["spec"])
        # As it was trained: what was made by torch alone acts in the same numbers again.
        with using("auto" if state.get("kernels") == "c" else "torch"):
            algorithm = algorithms.make(name, spec, settings, (record.seed,), device)
        algorithm.load_state_dict(state["algorithm"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise BenchError(
            f"this om2p-bench cannot read the record or checkpoint of cell {record.cell} "
            f"({type(error).__name__}): run the cell again"
        ) from error
    return algorithm
