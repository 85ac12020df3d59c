"""ReBRAC for teams: TD3+BC whose critic, too, is held near the data.

Source: "Revisiting the Minimalist Approach to Offline Reinforcement Learning", arXiv 2305.09836,
run per agent; its form in CORL (tinkoff-ai/CORL, algorithms/offline/rebrac.py) and in OM2P's
repository (lizr16/OM2P f3cfd05, agents/rebrac.py), which agree in all losses.
From the code: the distance between next policy action and next recorded action, taken from the
TD target's value; smoothing noise on target actions; the minimum of both heads in the actor's loss,
divided by its mean size; policy and targets move at every second update; LayerNorm in the critic,
three hidden layers of 256, learning rate 1e-3.
Where they differ: CORL sums the heads' losses (as here) and OM2P's repository averages them; CORL
acts without noise (as here) and OM2P's repository with the smoothing noise.
Choices: the actor's loss weighs Q (`q_weight`) instead of cloning, its inverse: Adam does not see
the difference; it averages the cloning error over dimensions, where the code sums. The critic's
penalty is the code's sum, as it counts in units of Q. Rows whose next action was not recorded (time
limits) train the actor and not the critic; CORL leaves them out altogether.
"""

import torch
from torch import Tensor

from algorithms.actor_critic import DelayedActorCritic
from algorithms.base import Metrics, TeamSpec
from algorithms.parts.critics import td_loss, td_target
from algorithms.settings import RebracSettings
from algorithms.td3bc import Td3Bc
from datasets.batch import Batch


class Rebrac(DelayedActorCritic[RebracSettings], Td3Bc[RebracSettings]):
    """Deterministic actor-critic with a cloning term in both losses."""

    next_actions = True

    def __init__(self, spec: TeamSpec, settings: RebracSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        if settings.q_weight == 0:  # pure cloning has no critic to learn alone
            self.cycle = 1

    def _guide(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the smaller head's values, (M, B)."""
        return self.critic.frozen(observation, action).amin(dim=1)

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor, action: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the sum over heads of the means of (Q_k - y)^2 over rows whose y is known."""
        if self.settings.q_weight == 0:
            return batch.reward.new_zeros(()), {}
        assert batch.followed is not None
        known = torch.maximum(batch.followed, batch.terminated)
        goal = self._goal(batch, next_observation)
        return td_loss(self.critic(observation, batch.action), goal, heads="sum", known=known)

    @torch.no_grad()
    def _goal(self, batch: Batch, next_observation: Tensor) -> Tensor:
        """Return y = r + discount (1 - done) (min_k Qbar_k(o', a~) - beta |a~ - a'|^2), (M, B)."""
        settings = self.settings
        assert batch.next_action is not None
        noise = settings.smoothing_std * self.noise(batch.action.shape[1])
        noise = noise.clamp(-settings.smoothing_clip, settings.smoothing_clip)
        next_action = (self._target_chosen(next_observation) + noise).clamp(-1.0, 1.0)
        apart = ((next_action - batch.next_action) * self.action_mask).square().sum(dim=-1)
        next_value = self.target_critic(next_observation, next_action)
        next_value = next_value - settings.critic_cloning_weight * apart[:, None]
        return td_target(batch.reward, batch.terminated, next_value, settings.discount, "min")
