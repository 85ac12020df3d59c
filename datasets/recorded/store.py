"""A recorded dataset: its episodes, its card, and the samplers that draw from it."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from datasets.recorded.episodes import Episodes
from datasets.views import grammar

if TYPE_CHECKING:
    from datasets.recorded.sampler import Sampler
    from datasets.recorded.sequences import SequenceSampler


class Dataset(Episodes):
    """A recorded dataset: episodes, the card of what is kept, and samplers over it."""

    @cached_property
    def card(self) -> dict[str, Any]:
        """The card of what is kept: that of the recording, or one recomputed for a fraction."""
        if self.transitions is None and not self.views:
            return self.recorded_card
        from datasets.recorded.card import describe

        card = self.recorded_card | describe(self) | {"fraction": self.fraction}
        return card | self._viewed() if self.views else card

    def _viewed(self) -> dict[str, Any]:
        """Return what a view changes in the card besides the statistics."""
        recorded = self.recorded_card
        changed: dict[str, Any] = {
            "id": f"{recorded['id']}{grammar.suffix(self.views)}",
            "views": grammar.names(self.views),
        }
        if self.transitions is None and not any(
            view.what.changes == "observation" for view in self.views
        ):  # to the last bit what they are without the view
            for key in ("observation_mean", "observation_std"):
                changed[key] = recorded[key]
        return changed

    def __repr__(self) -> str:
        """Say which data they are, and how many."""
        card = self.card
        return (
            f"Dataset({card['id']}: {card['n_transitions']:,} transitions, "
            f"{card['n_episodes']:,} episodes, {card['agents']} agents, mean return "
            f"{card['returns']['mean']:.1f})"
        )

    def sampler(
        self,
        batch_size: int,
        replicas: int = 1,
        seeds: tuple[int, ...] = (0,),
        device: str = "cpu",
        reweight: str | None = None,
        next_actions: bool = False,
    ) -> "Sampler":
        """Return a sampler of uniform mini-batches, one independent stream per replica.

        With ``reweight="quantiles"`` it samples from :meth:`reweighted_episodes`. With
        ``next_actions`` batches hold the recorded action after each transition, too.
        """
        from datasets.recorded.sampler import Sampler

        _check_replicas(replicas, seeds)
        return Sampler(self, batch_size, seeds, device, reweight, next_actions)

    def sequences(
        self,
        batch_size: int,
        horizon: int,
        history: int = 0,
        discount: float = 0.99,
        replicas: int = 1,
        seeds: tuple[int, ...] = (0,),
        device: str = "cpu",
        reweight: str | None = None,
    ) -> "SequenceSampler":
        """Return a sampler of windows of ``history + horizon`` steps of one episode each.

        A window's present step, at place ``history``, is drawn uniformly from all transitions.
        See :class:`datasets.batch.SequenceBatch` for what a batch holds.
        """
        from datasets.recorded.sequences import SequenceSampler

        _check_replicas(replicas, seeds)
        window = (history, horizon)
        return SequenceSampler(self, batch_size, window, discount, seeds, device, reweight)


def _check_replicas(replicas: int, seeds: tuple[int, ...]) -> None:
    if len(seeds) != replicas:
        raise ValueError(f"{replicas} replicas need as many seeds, not {len(seeds)}")
