"""The interface of a trained team: observations in, actions out. Torch-free."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.errors import BenchError


class TeamPolicy(ABC):
    """A trained team: one observation per agent in, one action per agent out."""

    def __init__(
        self,
        cell: str,
        names: Sequence[str],
        observation_sizes: Sequence[int],
        action_sizes: Sequence[int],
    ) -> None:
        """Keep the cell's id, the agents' names and their sizes."""
        self.cell, self.names, self.action_sizes = cell, list(names), list(action_sizes)
        self._shapes = [(size,) for size in observation_sizes]
        self._widest = max(observation_sizes)

    def __repr__(self) -> str:
        """Say which cell it is from, and what it takes and gives."""
        sizes = ", ".join(str(size) for (size,) in self._shapes)
        actions = ", ".join(map(str, self.action_sizes))
        return (
            f"{type(self).__name__}(cell {self.cell}: {len(self.names)} agents, observations of "
            f"{sizes} numbers, actions of {actions})"
        )

    def __call__(self, observations: Any) -> Any:
        """Return the team's actions for one joint observation, in the form of the observations.

        observations: one array (size,) per agent, as a sequence in the team's order or as a mapping
        from `agent_0`, `agent_1` ... in any order. Raises BenchError for other names or sizes
        and for observations that are not finite.
        """
        if isinstance(observations, (list, tuple)) or not isinstance(observations, Mapping):
            return self._act(self._joined(observations))
        if set(observations) != set(self.names):
            raise BenchError(
                f"the policy of cell {self.cell} needs the observations of "
                f"{', '.join(self.names)}, not of {', '.join(map(str, observations)) or 'nobody'}: "
                "rename them, or give a sequence in the team's order"
            )
        actions = self._act(self._joined([observations[name] for name in self.names]))
        return {
            name: action[:size]
            for name, action, size in zip(self.names, actions, self.action_sizes, strict=True)
        }

    def reset(self) -> None:
        """Begin a new episode: forget the history, if the policy keeps one.

        The random generators continue, so an episode does not repeat the noise of the last one.
        """

    @abstractmethod
    def _act(self, joint: np.ndarray) -> np.ndarray:
        """Return actions (N, A) for padded observations (N, 1, O) in float32."""

    def _joined(self, observations: Iterable[Any]) -> np.ndarray:
        """Return one observation per agent as one padded array (N, 1, O)."""
        rows = [np.asarray(row) for row in observations]
        shapes = [row.shape for row in rows]
        if shapes != self._shapes:
            sizes = [size for (size,) in self._shapes]
            raise BenchError(
                f"the policy of cell {self.cell} needs observations of sizes {sizes}, one per "
                f"agent, not of shapes {shapes}"
            )
        joint, places = self._blank()
        for place, row in zip(places, rows, strict=True):
            place[:] = row
        numbers = joint.ravel()
        # One product in place of two passes: acting evicts numpy's code from the cache. Squares of
        # large numbers may overflow, so the product alone refuses nothing.
        if not math.isfinite(np.vdot(numbers, numbers)):
            self._refuse_infinite(joint)
        return joint

    def _refuse_infinite(self, joint: np.ndarray) -> None:
        """Raise BenchError for a joint observation that is not finite."""
        for name, finite in zip(self.names, np.isfinite(joint).all(axis=(1, 2)), strict=True):
            if not finite:
                raise BenchError(
                    f"the observation of {name} for the policy of cell {self.cell} holds NaN or "
                    "infinity: look at the environment that gave it"
                )

    def _blank(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return a joint observation (N, 1, O) of zeros, and the view of each agent's part."""
        joint = np.zeros((len(self._shapes), 1, self._widest), dtype=np.float32)
        return joint, [row[0, :size] for row, (size,) in zip(joint, self._shapes, strict=True)]
