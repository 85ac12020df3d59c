"""Cloning by one flow of the whole team: it sees all observations and moves all actions.

Source: stage 1 of MAC-Flow, arXiv 2511.05005: v(t, o_1..n, x_joint) regresses the joint action
minus noise; Euler steps act. This is the teacher of `mac-flow` as a policy of its own. Factorised
policies are compared with it where agents must coordinate. Acting is centralised.
Choice: the loss averages over agents and action dimensions.
"""

from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.joint import JointPolicy, same_for_team
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import euler
from algorithms.settings import FlowBcSettings
from datasets.batch import Batch


class FlowBcJoint(Algorithm[FlowBcSettings]):
    """One velocity network of the team per replica."""

    def __init__(self, spec: TeamSpec, settings: FlowBcSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.timed_policy(JointPolicy, times=1)
        self.sampling_steps = settings.flow_steps

    def trained_networks(self) -> list[MemberNetwork]:
        """Return the policy, which alone is trained."""
        return [self.policy.network]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return all of the policy's parameters."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the mean over batch, team and dimensions of (v - (a - noise))^2, (R,).

        The agents of a team share their time t.
        """
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), same_for_team(self.uniform(rows), self.num_agents)
        x = (1.0 - t) * noise + t * batch.action
        velocity = self.policy(self.observed(batch.observation), x, t)
        error = self.mean_over_action((velocity - (batch.action - noise)).square())
        loss = error.mean(dim=-1).unflatten(0, (-1, self.num_agents)).mean(dim=1)
        return loss, {"actor/flow_loss": loss}

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Integrate the team's velocity from fresh noise."""
        noise = self.noise(observation.shape[1], generators)
        steps = self.settings.flow_steps
        return euler(lambda x, t: self.policy(observation, x, t), noise, steps)
