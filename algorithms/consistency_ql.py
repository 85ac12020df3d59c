"""Consistency policies with Q-learning, per agent: one or two evaluations from noise to action.

Source: Consistency-AC, arXiv 2309.16984, and its code quantumiracle/
Consistency_Model_For_Reinforcement_Learning cdeae87; CPQL, arXiv 2310.06343, and its code
cccedric/cpql 34af027. Both put a consistency model (Song et al. 2023) in the place of
Diffusion-QL's chain and keep its critics. The state is x = a + sigma noise and

    f(o, x, sigma) = c_skip x + c_out F(o, c_in x, t)
    c_skip = d^2 / ((sigma - sigma_min)^2 + d^2),   d = sigma_data
    c_out = (sigma - sigma_min) d / sqrt(sigma^2 + d^2),   c_in = 1 / sqrt(sigma^2 + d^2)

so that f(o, x, sigma_min) = x. An action is f(o, sigma_max noise, sigma_max). The levels are those
of Karras et al. 2022, at equal steps of the time t, 0 at sigma_max (noise) and 1 at sigma_min.
From both codes: sigma 0.002 to 80, d = 0.5, rho = 7; the minimum of the target heads; the sum of
the heads' TD losses; a coin between the critics in the Q term, normalised by the other head; an
averaged policy, unchanged for 1,000 updates and then moved every fifth; candidates drawn by
softmax(min target Q). From CPQL's: c_in, 40 levels, the weights 1 / sigma^2 + 1 / d^2, one
evaluation. From Consistency-AC's: the consistency loss, the averaged policy in the TD target, the
second evaluation at sigma = 2, no clipping inside the loss.
Where they differ: CPQL's code computes the consistency loss and minimises the reconstruction loss
|f - a|^2 instead (`cloning=reconstruction`). At sigma_max its optimum is the mean of the data.
Consistency-AC's code weighs its loss by 100 / (difference of the two sigmas) and raises the number
of levels from 2 to 150, again and again in every stretch between two evaluations.
Differences: as `diffusion-ql`; t enters as a plain number.
Choices: per agent; one evaluation and one candidate by default; clip 5.
"""

from typing import ClassVar

import torch
from torch import Tensor

from algorithms.base import Generators, TeamSpec
from algorithms.diffusion_ql import AveragedPolicyLearner
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import ConsistencyQlSettings
from datasets.batch import Batch

LAST_SIGMA = 2.0  # of a chain's last evaluation, in Consistency-AC's code


class ConsistencyQl(AveragedPolicyLearner[ConsistencyQlSettings]):
    """Consistency policy, its running average, and a twin critic of every member."""

    cloning_metric: ClassVar[str] = "actor/consistency_loss"

    def __init__(
        self, spec: TeamSpec, settings: ConsistencyQlSettings, seeds: tuple[int, ...]
    ) -> None:
        super().__init__(spec, settings, seeds)
        self.sampling_steps = settings.consistency_steps
        self.levels = settings.noise_levels - 1  # intervals between neighbouring levels
        self._root_max = settings.sigma_max ** (1.0 / settings.rho)
        self._root_min = settings.sigma_min ** (1.0 / settings.rho)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise at times t (Karras et al. 2022, eq. 5): sigma_max at 0."""
        root = self._root_max + t * (self._root_min - self._root_max)
        return root**self.settings.rho

    def time(self, sigma: float) -> float:
        """Return the time of a noise level, the inverse of :meth:`sigma`."""
        root: float = sigma ** (1.0 / self.settings.rho)
        return (self._root_max - root) / (self._root_max - self._root_min)

    def clean(
        self,
        policy: TimedPolicy,
        observation: Tensor,
        x: Tensor,
        t: Tensor | float,
        sigma: Tensor | float,
    ) -> Tensor:
        """Return f(o, x, sigma), (M, B, A); ``t`` is the time of ``sigma``."""
        data, above = self.settings.sigma_data, sigma - self.settings.sigma_min
        total = sigma * sigma + data * data
        c_skip = data * data / (above * above + data * data)
        c_out, c_in = above * data / total**0.5, 1.0 / total**0.5
        return c_skip * x + c_out * policy(observation, c_in * x, t)

    def _cloning(self, batch: Batch, observation: Tensor) -> Tensor:
        """Return the mean of (1 / sigma^2 + 1 / d^2) |f(o, x, sigma) - goal|^2, (M,).

        goal: the teacher's f at the next lower level, from the same noise (Song et al. 2023,
        eq. 10), or the recorded action. With these weights an error of F counts alike at all
        levels.
        """
        rows, settings = batch.action.shape[1], self.settings
        noise, level = self.noise(rows), torch.floor(self.uniform(rows) * self.levels)
        level = level.clamp_max(self.levels - 1)
        t, t_next = level / self.levels, (level + 1.0) / self.levels
        sigma, sigma_next = self.sigma(t), self.sigma(t_next)
        out = self.clean(self.policy, observation, batch.action + sigma * noise, t, sigma)
        if settings.cloning == "reconstruction":
            goal = batch.action
        else:
            teacher = self.policy if settings.teacher == "policy" else self.average_policy
            with torch.no_grad():
                x = batch.action + sigma_next * noise
                goal = self.clean(teacher, observation, x, t_next, sigma_next)
        weight = sigma**-2 + settings.sigma_data**-2
        return self.mean_over_action(weight * (out - goal).square()).mean(dim=-1)

    def _sample(
        self, policy: TimedPolicy, observation: Tensor, generators: Generators | None = None
    ) -> Tensor:
        """Evaluate f from fresh noise at sigma_max, and at each further level after noise anew."""
        rows, settings = observation.shape[1], self.settings
        steps, sigma = settings.consistency_steps, settings.sigma_max
        x = sigma * self.noise(rows, generators)
        action = self.clean(policy, observation, x, 0.0, sigma)
        for step in range(1, steps):
            share = step / (steps - 1)
            sigma = settings.sigma_max + share * (LAST_SIGMA - settings.sigma_max)
            spread = (sigma**2 - settings.sigma_min**2) ** 0.5
            x = action + spread * self.noise(rows, generators)
            action = self.clean(policy, observation, x, self.time(sigma), sigma)
        return action.clamp(-1.0, 1.0)
