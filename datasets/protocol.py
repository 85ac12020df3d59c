"""The protocol: what defines a score, besides the task and the team that plays it. Torch-free."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol as Interface

if TYPE_CHECKING:
    from datasets.environments.base import BatchedEnv


class Perturbation(Interface):
    """What disturbs a team while it plays, as a wrapper of its environment."""

    def wrap(self, env: "BatchedEnv", seed: int) -> "BatchedEnv":
        """Return the disturbed environment; its random numbers follow from ``seed`` alone.

        See :class:`datasets.environments.base.Wrapper`.
        """
        ...


@dataclass(frozen=True)
class Protocol:
    """How a team is evaluated. Whoever changes what a default means raises ``version``.

    Start states follow from ``seed`` and ``episodes_at_once``: these decide which start states are
    drawn together. An episode lasts until it ends, at most ``horizon`` steps (None: the task's);
    rewards after its end do not count. The version stands in every record.
    """

    version: int = 1
    seed: int = 20_250_000
    episodes_at_once: int = 1000
    horizon: int | None = None
    perturbation: Perturbation | None = None

    def batches(self, episodes: int, most: int) -> Iterator[tuple[int, int]]:
        """Yield size and seed of the batches that make up ``episodes`` episodes.

        most: episodes of the task that can be played side by side (``Task.copies``).
        """
        at_once = min(self.episodes_at_once, most)
        for start in range(0, episodes, at_once):
            yield min(at_once, episodes - start), self.seed + start


PROTOCOL = Protocol()
