"""The denoising regression of diffusion policies, and the noise that their networks predict."""

from collections.abc import Callable

from torch import Tensor

from algorithms.parts.samplers import NoisePrediction, Schedule

Policy = Callable[..., Tensor]  # (observation or condition, x, time) -> output of the shape of x


class Denoiser:
    """A policy network read as a denoiser under a noise schedule.

    With ``prediction="noise"`` the network outputs eps itself (Ho et al. 2020, eq. 14). With
    ``"velocity"`` it outputs v = alpha eps - sigma action (Salimans and Ho 2022, section 4), from
    which eps = alpha v + sigma x. The latter stays informative where the state is almost all
    noise: there x0 = (x - sigma eps) / alpha magnifies errors of a predicted eps by 1 / alpha,
    about 12 under the usual schedule.
    """

    def __init__(self, schedule: Schedule, prediction: str) -> None:
        self.schedule = schedule
        self.predicts_velocity = prediction == "velocity"

    def error(
        self, policy: Policy, observation: Tensor, action: Tensor, noise: Tensor, t: Tensor
    ) -> Tensor:
        """Return the squared regression error (M, B, A) at x_t = alpha action + sigma noise."""
        alpha, sigma = self.schedule.scales_at(t)
        output = policy(observation, alpha * action + sigma * noise, t)
        goal = alpha * noise - sigma * action if self.predicts_velocity else noise
        return (output - goal).square()

    def error_and_action(
        self, policy: Policy, observation: Tensor, action: Tensor, noise: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the error, and the clean action that follows from the same output (EDP, eq. 8)."""
        alpha, sigma = self.schedule.scales_at(t)
        x = alpha * action + sigma * noise
        output = policy(observation, x, t)
        if self.predicts_velocity:
            error = (output - (alpha * noise - sigma * action)).square()
            return error, alpha * x - sigma * output
        return (output - noise).square(), (x - sigma * output) / alpha

    def noise_of(self, policy: Policy, observation: Tensor) -> NoisePrediction:
        """Return the function (x, t) -> predicted noise for observations (M, B, O)."""

        def predict(x: Tensor, t: float) -> Tensor:
            output: Tensor = policy(observation, x, t)
            if not self.predicts_velocity:
                return output
            alpha, sigma = self.schedule.scales(t)
            return alpha * output + sigma * x

        return predict
