"""DoF: factorised diffusion, policy variant.

Source: "DoF: A Diffusion Factorization Framework for Offline Multi-Agent Reinforcement Learning",
ICLR 2025, and its code xmu-rl-3dv/DoF 84ba48a (DoF_Policy). Noise and data of the team are the
concatenation of the agents', so that each network sees (x_i, k, o_i) only; one cloning loss
averages over all agents and every agent adds its own Q term: L_i = L_bc + eta L_Q,i.
`dof` is the method by these formulas: live Q gradient, one backward pass, T = 10 vp levels
(choice).
`dof-shipped` does what the code does: 100 linear levels whatever the configuration says, a Q term
built from detached values (no gradient: the policy only clones, and critics train that nothing
reads), the cloning gradient of agent j counted N - j times. Acting takes one of 50 candidates at
random there, which is one draw here.
Differences: one Adam for all; the weighted concatenation is not built (as shipped it has no
effect).
"""

import torch
from torch import Tensor

from algorithms.base import Metrics, TeamSpec
from algorithms.diffusion_ql import DiffusionPolicyLearner
from algorithms.settings import DofSettings
from datasets.batch import Batch


class Dof(DiffusionPolicyLearner[DofSettings]):
    """Diffusion-QL policies under one cloning loss averaged over the team."""

    cloning_share: Tensor  # (M,)

    def __init__(self, spec: TeamSpec, settings: DofSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.has_critic = (
            self.has_critic or not settings.q_gradient
        )  # as shipped, although nothing reads it
        agents = spec.agents
        counts = torch.ones(agents)
        if settings.backward == "per_agent":
            counts = agents - torch.arange(agents).float()
        share = (counts / agents).repeat(self.num_replicas)
        self.register_buffer("cloning_share", share, persistent=False)

    def _actor(self, batch: Batch, observation: Tensor) -> tuple[Tensor, Metrics]:
        """Return each member's part of L_bc, a mean over agents too, minus eta times its own Q."""
        cloning = self._cloning(batch, observation)
        loss, metrics = self.cloning_share * cloning, {"actor/diffusion_loss": cloning}
        if self.settings.q_weight == 0 or not self.settings.q_gradient:
            return loss, metrics
        q_loss, q_metrics = self._q_term(
            observation, self._sample(self.policy, observation), by_other=True
        )
        return loss + self.settings.q_weight * q_loss, metrics | q_metrics

    def _td_loss(self, value: Tensor, goal: Tensor) -> tuple[Tensor, Metrics]:
        """Return the TD loss of each agent, or of sum_i Q_i (the code's joint option), (M,)."""
        if self.settings.critics == "separate":
            return super()._td_loss(value, goal)
        team = (value - goal[:, None]).unflatten(0, (-1, self.num_agents)).sum(dim=1)  # (R, 2, B)
        loss = team.square().mean(dim=-1).sum(dim=-1)
        loss = loss.repeat_interleave(self.num_agents) / self.num_agents
        return loss, {"critic/loss": loss, "critic/q": value.mean(dim=(1, 2))}
