"""Cloning by flow matching.

Source: conditional flow matching (Lipman et al. 2023) as the behaviour policy of FQL,
arXiv 2502.02538: v(o, x, t) regresses action - noise on straight lines; Euler steps act.
Choice: one network per agent.
"""

from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import euler
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import FlowBcSettings
from datasets.batch import Batch


class FlowBc(Algorithm[FlowBcSettings]):
    """A velocity network v(o, x, t) per member."""

    def __init__(self, spec: TeamSpec, settings: FlowBcSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.timed_policy(TimedPolicy, times=1)
        self.sampling_steps = settings.flow_steps

    def trained_networks(self) -> list[MemberNetwork]:
        """Return the policy, which alone is trained."""
        return [self.policy.network]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return all of the policy's parameters."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and dimensions of (v(o, x_t, t) - (a - noise))^2."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self.uniform(rows)
        x = (1.0 - t) * noise + t * batch.action
        velocity = self.policy(self.observed(batch.observation), x, t)
        error = self.mean_over_action((velocity - (batch.action - noise)).square())
        loss = error.mean(dim=-1)
        return loss, {"actor/flow_loss": loss}

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Integrate the velocity from fresh noise."""
        noise = self.noise(observation.shape[1], generators)
        steps = self.settings.flow_steps
        return euler(lambda x, t: self.policy(observation, x, t), noise, steps)
