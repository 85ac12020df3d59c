"""CoFlow: a few steps of a velocity over the team's plans, and inverse dynamics for the actions.

Source: "CoFlow: Coordinated Few-Step Flow for Offline Multi-Agent Decision Making", arXiv
2605.01457, of which the abstract and the project page could be had, and its code
Guowei-Zou/coflow-release 91027bc (`ma_meanflow_wrapper.py`, its improved mean flow; attention in
`ma_temporal.py`). Plans, inverse dynamics and U-Net are MADiff's, see `planner`; attention between
agents also reads level and return, and a gate lets it in that starts at 0. With the noise's share
t of x_t = (1 - t) plan + t noise, the later of two times, and r, the earlier one:

    V = f(x_t, r) + (t - r) stop(f(x_t, t) - f(x_t, r))        regressed on v = plan - noise

The paper calls the second term a finite-difference surrogate of (t - r) du/dt. It is no difference
quotient: the state is x_t in both evaluations and nothing is divided by t - r. Where f(x_t, t) is
the velocity, the loss is least at f(x_t, r) = f(x_t, t). So this is flow matching whose network is
sometimes told a lower level than the plan has, and one step from pure noise gives the mean plan.
From the code: both times logit-normal(-0.4, 1), equal in half of the windows; the network reads
the floor of five times the level only; every output is guided, w = 1.2, in training too, so that
the return is never hidden and the guided field is what is fitted; five Euler steps; L = (L_flow +
L_inv) / 2, which leaves out the dispersive term that the code computes; the averaged network acts.
Differences: those of `planner` and `temporal_unet`. Choices: equal times by chance per window; the
average moves after every update (the code: after every tenth).
`coflow` (CoFlow-C) knows the observations of all agents, `coflow-d` one agent's.
"""

import torch
from torch import Tensor

from algorithms.base import TeamSpec
from algorithms.planner import Keep, Planner
from algorithms.settings import CoflowSettings
from datasets.batch import SequenceBatch

LOCATION = -0.4  # of the logit of a time
SMALLEST = 1e-7  # of a uniform number whose quantile is taken


class Coflow(Planner[CoflowSettings]):
    """A U-Net that gives the velocity of plans, and inverse models."""

    loss_name = "actor/flow_loss"

    def __init__(self, spec: TeamSpec, settings: CoflowSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds, gated=True)
        self.sampling_steps = settings.flow_steps

    def plan_loss(self, batch: SequenceBatch, plan: Tensor) -> Tensor:
        """Return the mean of (V - v)^2 where an observation is recorded but not known, (R,)."""
        clean = self._joint(plan)  # (R, B, N, T, O)
        noise, draws = self._draws(clean, 4)
        late, early = self._levels(draws[..., :3])
        known = self._seen(clean, draws[..., 3])
        returns = self._returns(batch)
        share = late[..., None, None, None]
        x = torch.where(known, clean, (1.0 - share) * clean + share * noise)
        with torch.no_grad():
            at_late = self._guide(self.unet, x, self._bin(late), returns)
        at_early = self._guide(self.unet, x, self._bin(early), returns)
        width = (late - early)[..., None, None, None]
        compound = at_early + width * (at_late - at_early.detach())
        return self._unknown_mean((compound - (clean - noise)).square(), batch, known)

    def _levels(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Return the later and the earlier time, (R, B) each, of uniform numbers (R, B, 3)."""
        normal = torch.special.ndtri(draws[..., :2].clamp_min(SMALLEST))
        times = torch.sigmoid(LOCATION + normal)
        late, early = times.amax(dim=-1), times.amin(dim=-1)
        return late, torch.where(draws[..., 2] < self.settings.equal_share, late, early)

    def _bin(self, level: Tensor) -> Tensor:
        """Return the bin of each level, which is what the network reads."""
        bins = self.settings.time_bins
        return torch.floor(level * bins).clamp_max(bins - 1)

    def generate(self, noise: Tensor, keep: Keep) -> Tensor:
        """Follow the averaged network's guided velocity from noise by Euler's rule."""
        steps, bins = self.settings.flow_steps, self.settings.time_bins
        wanted = torch.full_like(noise[:, :, 0, 0, 0], self.settings.target_return)
        x = noise
        for step in range(steps):
            number = min(
                bins * (steps - step) // steps, bins - 1
            )  # exact, unlike a floor of floats
            level = torch.full_like(wanted, number)
            x = keep(x)
            x = x + self._guide(self.average_unet, x, level, wanted) / steps
        return keep(x)
