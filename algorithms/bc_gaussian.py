"""Stochastic cloning: a Gaussian fitted by maximum likelihood.

Source: behaviour cloning; the Gaussian is that of `iql`, so that the two differ in the weights of
transitions alone. As in IQL's code, the standard deviation does not depend on the observation
(`deviation=observation` is the other form: where the mean fits badly the deviation grows, and the
mean is then hardly corrected there). Choices: mean through tanh, log standard deviation bent into
[-5, 2], mean over action dimensions (a likelihood would sum them, which only rescales the loss),
samples clipped to [-1, 1] when acting. A Gaussian has one mode: the comparison shows what
generative policies add.
"""

from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.gaussian import drawn, negative_log_density
from algorithms.parts.networks import MemberNetwork
from algorithms.settings import BcGaussianSettings
from datasets.batch import Batch


class BcGaussian(Algorithm[BcGaussianSettings]):
    """One Gaussian actor per member."""

    def __init__(
        self, spec: TeamSpec, settings: BcGaussianSettings, seeds: tuple[int, ...]
    ) -> None:
        super().__init__(spec, settings, seeds)
        bounds = (settings.log_std_min, settings.log_std_max)
        self.policy = self.gaussian_policy(bounds, settings.deviation)

    def trained_networks(self) -> list[MemberNetwork]:
        """Return the policy's networks, which alone are trained."""
        return self.policy.networks()

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return all of the policy's parameters."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and dimensions of -log pi(a | o)."""
        mean, log_std = self.policy(self.observed(batch.observation))
        surprise = negative_log_density(batch.action, mean, log_std)
        loss = self.mean_over_action(surprise).mean(dim=-1)
        metrics = {"actor/cloning_loss": loss}
        return loss, metrics | {"actor/log_std": self.mean_over_action(log_std).mean(dim=-1)}

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Draw from pi(. | o), or return its mean."""
        mean, log_std = self.policy(observation)
        if self.settings.act_with == "mean":
            return mean
        return drawn(mean, log_std, self.noise(observation.shape[1], generators))
