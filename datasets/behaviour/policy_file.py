"""Policies of one's own, from a Python file: `FILE.py:NAME` names a function of the file.

    def act(observation, step, rng):
        ...
        return action

observation (E, N, O): what N agents observe in E episodes that are played side by side, float32;
padded with zeros where agents differ in size. step: how many steps these episodes have had; at 0
new ones begin, for policies that remember. rng: a numpy.random.Generator, seeded by the recording.
action (E, N, A): numbers in [-1, 1]; of an agent with fewer actions the rest is ignored.
"""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets import plugin_source
from datasets.errors import DatasetError
from datasets.paths import expanded
from datasets.tasks import Task

BOUND = 1.0 + 1e-6
FORM = "'{spec}' does not name a policy; write FILE.py:FUNCTION, as in plugin.py:act."

Function = Callable[[np.ndarray, int, np.random.Generator], Any]


@dataclass(frozen=True)
class Policy:
    """A user's policy: its function, and the file that it comes from as cards hold it."""

    path: Path
    name: str
    function: Function
    sha256: str  # of the file and of the modules of its folder that it imports
    modules: dict[str, str]  # their hashes
    executed: str  # the file as tracebacks name it

    @property
    def title(self) -> str:
        """Return how messages call the policy."""
        return f"{self.path.name}:{self.name}"

    def as_card(self) -> dict[str, Any]:
        """Return plain values for a dataset's card."""
        return {
            "file": self.path.name,
            "function": self.name,
            "sha256": self.sha256,
            "modules": self.modules or None,
        }

    def complaint(self, error: Exception, step: int) -> DatasetError:
        """Return the error for an exception of the policy, with the line of its file."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.executed]
        where = f", line {lines[-1]}" if lines else ""
        text = " ".join(str(error).split())
        return DatasetError(
            f"the policy {self.title} raises {type(error).__name__} at step {step}{where}: {text}"
        )


def load(spec: str) -> Policy:
    """Return the policy that ``FILE.py:FUNCTION`` names.

    The file is executed; where `--plugin` has executed it already, that module is used. Raises
    DatasetError where the file or the function is missing, or the file cannot be executed.
    """
    file, _, name = spec.rpartition(":")
    if not file or not name.isidentifier():
        raise DatasetError(FORM.format(spec=spec))
    path = expanded(file).absolute()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"the policy's file {path} cannot be read ({error.strerror}); {FORM.format(spec=spec)}"
        ) from error
    module = _executed(path, source)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise DatasetError(
            f"{path} has no function {name}"
            + (f"; it has {', '.join(known[:12])}." if known else "; define one.")
        )
    digest, modules = plugin_source.digest(path), plugin_source.modules_of(path)
    return Policy(path, name, function, digest, modules, str(module.__file__))


def _executed(path: Path, source: bytes) -> ModuleType:
    """Return the module of a file, executed under the name that a plug-in would have."""
    name = plugin_source.module_name(plugin_source.digest(path))
    if name in sys.modules:
        return sys.modules[name]
    before = list(sys.modules)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception | SystemExit):
            text = " ".join(str(error).split())
            raise DatasetError(f"{path} raises {type(error).__name__}: {text}") from error
        raise
    plugin_source.note_loaded(path, before)
    return module


class Checked:
    """A user's policy as a team that acts: `datasets.rollout.Act`, with every action checked."""

    def __init__(self, policy: Policy, task: Task, rng: np.random.Generator, episode: int) -> None:
        """Take who acts for whom, and the number of the first of the episodes that begin."""
        self.policy, self.rng, self.episode, self.step = policy, rng, episode, 0
        self.sizes = np.array(task.action_sizes)

    def __call__(self, observation: Tensor) -> Tensor:
        """Return actions (E, N, A) for observations (E, N, O); DatasetError for wrong ones."""
        seen = observation.numpy().copy()  # what a policy does to it must not reach the recording
        try:
            action = np.asarray(self.policy.function(seen, self.step, self.rng))
        except Exception as error:
            raise self.policy.complaint(error, self.step) from error
        wanted = (*seen.shape[:2], int(self.sizes.max()))
        if action.shape != wanted or action.dtype.kind not in "fiub":
            raise DatasetError(
                f"the policy {self.policy.title} returns {action.dtype} of shape {action.shape} at "
                f"step {self.step} of episode {self.episode}, but numbers of shape {wanted} are "
                "needed: (episodes, agents, actions)."
            )
        padding = np.arange(wanted[2]) >= self.sizes[:, None]  # (N, A)
        action = np.where(padding, 0.0, action).astype(np.float32)
        self._check_values(action)
        self.step += 1
        return torch.from_numpy(action)

    def _check_values(self, action: np.ndarray) -> None:
        """Refuse NaN and numbers outside [-1, 1], with the episode, step and agent."""
        bad = ~(np.abs(action) <= BOUND)  # true for NaN too
        if not bad.any():
            return
        episode, agent, number = np.argwhere(bad)[0]
        raise DatasetError(
            f"the policy {self.policy.title} returns {action[episode, agent, number]:g} in episode "
            f"{self.episode + episode}, step {self.step}, agent {agent}; actions are numbers from "
            "-1 to 1: clip or rescale them in the policy."
        )
