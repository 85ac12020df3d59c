"""A perturbation of one's own: fog that grows, so that agents see less and less of an episode.

python -m bench stress --plugin docs/examples/fog.py --suite fog
"""

from torch import Tensor

from datasets.environments.base import BatchedEnv
from datasets.perturb import Scene, register
from datasets.perturb.observation import Observing


class Fog:
    """Observations fade into the data's mean; ``value`` is the share that is lost at the end."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value, self.scene = value, scene

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment in fog; what is random would be drawn from ``seed``."""
        return Foggy(env, self.value, self.scene.centre)


class Foggy(Observing):
    """An environment whose observations fade."""

    def __init__(self, env: BatchedEnv, share: float, centre: Tensor) -> None:
        super().__init__(env)
        self.share, self.centre = share, centre.to(env.device, env.dtype)

    def see(self, observation: Tensor) -> Tensor:
        """Return what is seen at this step; padding is zero in both."""
        lost = self.share * (self.time.to(observation) / self.horizon)[:, None, None]  # (E, 1, 1)
        return observation + lost * (self.centre - observation)


register(
    "fog",
    Fog,
    levels=(0.25, 0.5, 0.75, 1.0),
    unit="share lost at the end",
    summary="observations fade into the data's mean",
)
