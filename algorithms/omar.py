"""OMAR: MA-CQL whose actor also follows the best action that a zeroth-order search finds.

Source: "Plan Better Amid Conservatism: Offline Multi-Agent Reinforcement Learning with Actor
Rectification", arXiv 2111.11188, and its release ling-pan/OMAR 0e52ad6 (algorithms/maddpg.py).
From the code: both searches (`search=softmax` is its MPE form, `elites` its HalfCheetah form), the
candidate set {pi(o), best action of the last round}, the weights c and 1 - c. With c = 1, the
release's value for every Spread set, Q reaches the actor through the search alone.
Choices: the default c = 0.9 is the median of the release's sixteen per-dataset values; the elites'
standard deviation is torch's (n - 1).
"""

import torch
from torch import Tensor

from algorithms.base import Metrics
from algorithms.cql import ConservativeActorCritic
from algorithms.parts.critics import of_each
from algorithms.settings import OmarSettings
from datasets.batch import Batch


class Omar(ConservativeActorCritic[OmarSettings]):
    """The actor imitates the searched action and maximises the conservative Q."""

    def _actor(self, batch: Batch, observation: Tensor, action: Tensor) -> tuple[Tensor, Metrics]:
        """Return c (pi - a_hat)^2 - (1 - c) mean Q1(o, pi) + penalty."""
        share = self.settings.omar_weight
        value = self.critic.frozen_first(observation, action if share < 1 else action.detach())
        best = self._search(observation, action.detach(), value.detach())
        gap = self.mean_over_action((action - best).square()).mean(dim=-1)
        average = value.mean(dim=-1)
        loss = share * gap - (1.0 - share) * average + self._penalty(action)
        return loss, {"actor/search_gap": gap, "actor/q": average}

    @torch.no_grad()
    def _search(self, observation: Tensor, action: Tensor, value: Tensor) -> Tensor:
        """Return the action of largest Q1 among pi(o) and the last round's, (M, B, A).

        ``value`` is Q1 of pi(o), (M, B).
        """
        settings = self.settings
        mean: Tensor = torch.full_like(action, settings.search_mean)[:, :, None]  # (M, B, 1, A)
        std: Tensor = torch.full_like(mean, settings.search_std)
        kept: Tensor | None = None
        for index in range(settings.search_rounds):
            drawn, drawn_value = self._round(observation, mean, std, kept)
            if index == settings.search_rounds - 1:
                break
            if settings.search == "elites":
                kept = _best(drawn, drawn_value, settings.search_elites)
                mean, std = kept.mean(dim=2, keepdim=True), kept.std(dim=2, keepdim=True)
            else:
                weight = drawn_value.softmax(dim=-1)[..., None]  # (M, B, K, 1)
                mean = (weight * drawn).sum(dim=2, keepdim=True)
                std = (drawn - mean).square().mean(dim=2, keepdim=True).sqrt()
        best = _best(drawn, drawn_value, 1)[:, :, 0]
        better = drawn_value.amax(dim=-1) > value
        return torch.where(better[..., None], best, action)

    def _round(
        self, observation: Tensor, mean: Tensor, std: Tensor, kept: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw a round's actions (M, B, K, A) beside those kept; return them and their Q1."""
        rows, count = observation.shape[1], self.settings.search_samples
        noise = self.noise(rows * count).unflatten(1, (rows, count))
        drawn = mean + std * noise
        drawn = (drawn * self.action_mask[:, :, None] if self.ragged else drawn).clamp(-1.0, 1.0)
        drawn = drawn if kept is None else torch.cat([drawn, kept], dim=2)
        return drawn, of_each(self.critic.frozen_first, observation, drawn)


def _best(actions: Tensor, value: Tensor, count: int) -> Tensor:
    """Return the ``count`` actions of largest value, (M, B, count, A)."""
    index = value.topk(count, dim=-1).indices[..., None]
    return actions.gather(2, index.expand(-1, -1, -1, actions.shape[-1]))
