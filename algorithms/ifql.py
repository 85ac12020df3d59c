"""IFQL per agent: implicit flow Q-learning, a cloning flow whose best sample by Q acts.

Source: the baseline IFQL of "Flow Q-Learning", arXiv 2502.02538, and its code seohongpark/fql
719d044 (agents/ifql.py; the same file is in lizr16/OM2P f3cfd05): IDQL (arXiv 2304.10573) with a
flow in the place of the diffusion.
From the code: the flow regresses a - noise at uniform times and knows no value; critic and value
are IQL's, learnt from recorded actions alone (expectile 0.9, the sum of the heads' TD losses, the
minimum of the target heads in the value's loss); acting draws 32 actions by ten Euler steps and
takes the one of largest min over heads of Q; 4 x 512, LayerNorm in critic and value, one Adam.
Differences: the target critic follows the updated critic (the code lags by one update).
Choice: one set of networks per agent.
"""

from torch import Tensor, nn

from algorithms.base import Generators, Metrics, TeamSpec
from algorithms.iql import ImplicitQLearner
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import euler
from algorithms.parts.selection import best, repeated
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import IfqlSettings
from datasets.batch import Batch


class Ifql(ImplicitQLearner[IfqlSettings]):
    """Cloning flow, value, twin critic and its target of every member."""

    def __init__(self, spec: TeamSpec, settings: IfqlSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.timed_policy(TimedPolicy, times=1)
        self._make_values()
        self.sampling_steps = settings.flow_steps

    def trained_networks(self) -> list[MemberNetwork]:
        """Return flow, critic and value."""
        return [self.policy.network, self.critic.network, self.value]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the flow's parameters, and the critic's, which chooses."""
        chooser = self.critic.parameters() if self.settings.candidates > 1 else []
        return [*self.policy.parameters(), *chooser]

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_flow + L_V + L_Q of every member."""
        observation, next_observation = self.observations(batch)
        flow_loss = self._flow(batch, observation)
        _, value_loss, metrics = self._values(batch, observation, next_observation)
        return flow_loss + value_loss, {"actor/flow_loss": flow_loss} | metrics

    def _flow(self, batch: Batch, observation: Tensor) -> Tensor:
        """Return the mean over batch and dimensions of (v(o, x_t, t) - (a - noise))^2."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self.uniform(rows)
        x = (1.0 - t) * noise + t * batch.action
        error = (self.policy(observation, x, t) - (batch.action - noise)).square()
        return self.mean_over_action(error).mean(dim=-1)

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Integrate several noises and return the action of largest min_k Q_k(o, a)."""
        rows, count = observation.shape[1], self.settings.candidates
        states = repeated(observation, count)
        noise = self.noise(count * rows, generators)
        steps = self.settings.flow_steps
        actions = euler(lambda x, t: self.policy(states, x, t), noise, steps)
        if count == 1:
            return actions
        value = self.critic(states, actions).amin(dim=1)  # (M, B * K)
        return best(actions, value.unflatten(1, (rows, count)))
