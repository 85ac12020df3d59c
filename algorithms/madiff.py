"""MADiff: diffusion over the team's observations, and inverse dynamics for the actions.

Source: "MADiff: Offline Multi-agent Learning with Diffusion Models", arXiv 2305.17330 (NeurIPS
2024), and its code zbzhu99/madiff 120bf5c. A network denoises windows of all agents' observations
whose known entries are kept clean (inpainting); plans are conditioned on the return, hidden in a
quarter of training and weighted by guidance when acting; a_i = I_i(o_t, o_{t+1}) reads the plan.
`madiff-c` knows the history and present of all agents. `madiff-d` knows one agent's: every agent
plans for the team from its own observation and uses its own row.
From the code: L = (L_diff + L_inv) / 2, the averaged network acts, w = 1.2, target return 0.9.
Differences: observations pass through the normal law's distribution function of their standardised
value in place of the empirical one; a continuous variance-preserving schedule; see also
`temporal_unet`.
Choices: one inverse model per agent; DDIM with 15 steps; madiff-d draws the agent that is known
per window; the loss leaves known and unrecorded entries out; the return is the team's mean, scaled
by the largest of the data times the discounted share of a horizon (published: a constant per
dataset).
"""

import torch
from torch import Tensor

from algorithms.base import TeamSpec
from algorithms.parts.denoising import Denoiser
from algorithms.parts.samplers import VariancePreserving, dpm_solver
from algorithms.planner import Keep, Planner
from algorithms.settings import MadiffSettings
from datasets.batch import SequenceBatch


class Madiff(Planner[MadiffSettings]):
    """A U-Net that denoises plans, and inverse models."""

    loss_name = "actor/diffusion_loss"

    def __init__(self, spec: TeamSpec, settings: MadiffSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.schedule = VariancePreserving(settings.beta_min, settings.beta_max)
        self.denoiser = Denoiser(self.schedule, settings.prediction)
        self.sampling_steps = settings.solver_steps

    def plan_loss(self, batch: SequenceBatch, plan: Tensor) -> Tensor:
        """Return the mean squared error where an observation is recorded but not known, (R,)."""
        settings = self.settings
        clean = self._joint(plan)  # (R, B, N, T, O)
        noise, draws = self._draws(clean, 3)
        levels = settings.diffusion_steps
        level = torch.floor(draws[..., 0] * levels).clamp_max(levels - 1) + 1.0
        shown = (draws[..., 1] >= settings.return_dropout).float()
        known = self._seen(clean, draws[..., 2])

        def network(condition: Tensor, x: Tensor, t: Tensor) -> Tensor:
            x = torch.where(known, clean, x)
            return self.unet(x, (1.0 - t[..., 0, 0, 0]) * levels, condition, shown)

        t = (1.0 - level / levels)[..., None, None, None]
        error = self.denoiser.error(network, self._returns(batch), clean, noise, t)
        return self._unknown_mean(error, batch, known)

    def generate(self, noise: Tensor, keep: Keep) -> Tensor:
        """Denoise plans by DDIM."""
        predict = self.denoiser.noise_of(self._guided, noise)
        return dpm_solver(predict, noise, self.settings.solver_steps, self.schedule, keep=keep)

    def _guided(self, _: Tensor, x: Tensor, t: float) -> Tensor:
        """Return the averaged network's guided output at a time."""
        level = x.new_full(x.shape[:2], (1.0 - t) * self.settings.diffusion_steps)
        wanted = torch.full_like(level, self.settings.target_return)
        return self._guide(self.average_unet, x, level, wanted)
