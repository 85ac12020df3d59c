"""EDP: Diffusion-QL whose Q term reads the action off a single evaluation.

Source: "Efficient Diffusion Policies for Offline Reinforcement Learning", arXiv 2305.20081, and
its code sail-sg/edp b019648 (diffusion/dql.py), its Q-learning variant.
From the code: the Q term takes the clean action that follows from the output for the cloning sample
(eq. 8), so that a policy step costs one evaluation whatever T is; T = 100 linear levels; a solver
of 15 steps in the TD target and when acting; the weight alpha = 2; a coin between the critics, each
normalised by its own mean |Q|; the averaged policy moves every fifth update, from the first on.
Differences: as `diffusion-ql`; the solver is of first order. As published, sampling starts at N(0,
I) although abar_T = 0.36 (`schedule=linear`); the small presets use the vp schedule.
Choices: per agent; one candidate by default, up to 50 in the paper's energy-based selection.
"""

from torch import Tensor

from algorithms.base import Generators, Metrics, TeamSpec
from algorithms.diffusion_ql import DiffusionPolicyLearner
from algorithms.parts.samplers import dpm_solver
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import EdpSettings
from datasets.batch import Batch


class Edp(DiffusionPolicyLearner[EdpSettings]):
    """Diffusion policy with the one-step action estimate, its average, and a twin critic."""

    def __init__(self, spec: TeamSpec, settings: EdpSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.sampling_steps = settings.solver_steps

    def _actor(self, batch: Batch, observation: Tensor) -> tuple[Tensor, Metrics]:
        """Return L_bc, minus Q of the same sample's clean action; one evaluation of the policy."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self._times(rows)
        error, action = self.denoiser.error_and_action(
            self.policy, observation, batch.action, noise, t
        )
        loss = self.mean_over_action(error).mean(dim=-1)
        metrics = {"actor/diffusion_loss": loss}
        if not self.has_critic:
            return loss, metrics
        q_loss, q_metrics = self._q_term(observation, action.clamp(-1.0, 1.0), by_other=False)
        return loss + self.settings.q_weight * q_loss, metrics | q_metrics

    def _sample(
        self, policy: TimedPolicy, observation: Tensor, generators: Generators | None = None
    ) -> Tensor:
        """Solve from fresh noise: actions (M, B, A) in [-1, 1]."""
        predict = self.denoiser.noise_of(policy, observation)
        noise = self.noise(observation.shape[1], generators)
        action = dpm_solver(predict, noise, self.settings.solver_steps, self.schedule)
        return action.clamp(-1.0, 1.0)
