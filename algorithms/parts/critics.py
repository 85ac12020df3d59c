"""Twin Q-functions of all members, their targets, and the conservative (CQL) term."""

import copy
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.parts.normalisation import InputNorm

NetworkType = TypeVar("NetworkType", bound=nn.Module)

HEADS = 2
NORMALISER_FLOOR = 1e-6
ACTIONS = 4  # of a state, from which the deviation of Q is taken

Evaluate = Callable[[Tensor, Tensor], Tensor]  # (M, B, O), (M, B, A) -> (M, ..., B)


class TwinCritic(nn.Module):
    """Two Q(o, a) per member, evaluated as 2M members: (M, B, O), (M, B, A) -> (M, 2, B)."""

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        agents: int,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int],
        activation: str,
        layer_norm: bool,
        input_norm: InputNorm | None = None,
        norm_gain: bool = False,
    ) -> None:
        super().__init__()
        sizes = (observation_dim + action_dim, *hidden, 1)
        self.network = MemberMLP(
            generators, HEADS * agents, sizes, activation, layer_norm, norm_gain=norm_gain
        )
        self.input_norm = input_norm  # before both heads

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return both heads' values, (M, 2, B)."""
        return self._both(self._rows(observation, action))

    def frozen(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return both heads' values, (M, 2, B); gradients reach the action only."""
        rows, share = self.network.shared(self._rows(observation, action, frozen=True), HEADS)
        return self.network.frozen(rows, share=share).view(-1, HEADS, action.shape[1])

    def frozen_mean(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the mean of both heads' values, (M, B); gradients reach the action only."""
        return self.frozen(observation, action).mean(dim=1)

    def frozen_first(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the first head's values alone, (M, B); gradients reach the action only."""
        rows = self._rows(observation, action, frozen=True)
        return self.network.frozen(rows, every=HEADS)[..., 0]

    def of_laws(self, observation: Tensor, laws: Sequence[Tensor]) -> Tensor:
        """Return the values of actions of several laws, (M, B, K, A) each: (M, 2, B, sum of K).

        One evaluation of the network; an input norm takes each law's actions for a batch.
        """
        parts = []
        for actions in laws:
            states = observation[:, :, None].expand(-1, -1, actions.shape[2], -1)
            rows = self._rows(states.flatten(1, 2), actions.flatten(1, 2))
            parts.append(rows.unflatten(1, actions.shape[1:3]))
        shape = observation.shape[1], sum(actions.shape[2] for actions in laws)
        return self._both(torch.cat(parts, dim=2).flatten(1, 2)).unflatten(-1, shape)

    def _both(self, rows: Tensor) -> Tensor:
        """Return both heads' values of rows (M, B, .), (M, 2, B)."""
        count = rows.shape[1]
        rows, share = self.network.shared(rows, HEADS)
        return self.network(rows, share).view(-1, HEADS, count)

    def _rows(self, observation: Tensor, action: Tensor, frozen: bool = False) -> Tensor:
        rows = torch.cat([observation, action], dim=-1)
        return rows if self.input_norm is None else self.input_norm(rows, frozen)


def td_target(
    reward: Tensor, terminated: Tensor, next_value: Tensor, discount: float, aggregate: str
) -> Tensor:
    """Return y = r + discount (1 - terminated) agg_heads Q'(o', a'), (M, B).

    ``next_value`` is (M, 2, B). A time limit is not terminal: values bootstrap through it.
    """
    agreed = next_value.mean(dim=1) if aggregate == "mean" else next_value.amin(dim=1)
    return reward + discount * (1.0 - terminated) * agreed


def td_loss(
    value: Tensor,
    goal: Tensor,
    heads: Literal["mean", "sum"] = "mean",
    known: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the batch mean of (Q_k - y)^2, its mean or sum over heads, and what to log, all (M,).

    ``value`` is Q of the recorded actions, (M, 2, B), ``goal`` the target y, (M, B). ``known``
    (M, B) is 1 on the rows whose target is known; the others are left out of the mean.
    """
    if known is not None:
        squared = (value - goal[:, None]).square()
        each = squared.mean(dim=1) if heads == "mean" else squared.sum(dim=1)
        loss = mean_of(each, known)
    elif heads == "mean":
        loss = (value - goal[:, None]).square().mean(dim=(1, 2))
    else:
        loss = (value - goal[:, None]).square().mean(dim=-1).sum(dim=-1)
    return loss, {"critic/loss": loss, "critic/q": value.mean(dim=(1, 2))}


def mean_of(value: Tensor, known: Tensor) -> Tensor:
    """Return the mean of (M, B) over the rows where ``known`` is 1, (M,); 0 where there is none."""
    return (value * known).sum(dim=-1) / known.sum(dim=-1).clamp_min(1.0)


def q_term(value: Tensor, normalise: str, deviation: Tensor | None = None) -> Tensor:
    """Return -mean Q per member (M,), divided by the batch mean of |Q| or by ``deviation``.

    ``value`` is the mean over heads, (M, B); ``deviation`` that of Q over actions, (M,).
    """
    loss = -value.mean(dim=-1)
    if normalise == "none":
        return loss
    scale = value.detach().abs().mean(dim=-1) if deviation is None else deviation
    return loss / scale.clamp_min(NORMALISER_FLOOR)


def q_guidance(
    evaluate: Evaluate, observation: Tensor, action: Tensor, normalise: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return :func:`q_term` of the policy's actions, and what to log of it, (M,) each.

    ``evaluate`` gives values (M, B); its critic is held fixed.
    """
    value = evaluate(observation, action)
    by_actions = normalise == "action_std"
    deviation = action_deviation(evaluate, observation, action) if by_actions else None
    loss = q_term(value, normalise, deviation)
    return loss, {"actor/q_loss": loss, "actor/q": value.mean(dim=-1)}


@torch.no_grad()
def action_deviation(evaluate: Evaluate, observation: Tensor, action: Tensor) -> Tensor:
    """Return how much Q depends on the action: its deviation over actions of a state, (M, ...).

    The batch mean over states. The actions of a state are the policy's own there and in the next
    rows of the batch, so that no random numbers are drawn. Unlike the mean of |Q| it does not
    contain the value of the state, which may be nearly all of Q.
    """
    actions = torch.stack([action.roll(-row, dims=1) for row in range(ACTIONS)], dim=2)
    return of_each(evaluate, observation, actions).std(dim=-1).mean(dim=-1)


def coin_q_term(
    value: Tensor, coin: Tensor, normalise: str, by_other: bool, deviation: Tensor | None = None
) -> Tensor:
    """Return -mean Q_k per member (M,) of the head k that the coin picks, normalised if asked.

    ``value`` is (M, 2, B), ``coin`` (M, 1, 1) uniform on [0, 1). The divisor is the batch mean of
    |Q| of the other head (Diffusion-QL's code) or of the same one (EDP's code), or that head's
    ``deviation`` over actions, (M, 2).
    """
    first = coin[..., 0] < 0.5  # (M, 1)
    chosen = torch.where(first, value[:, 0], value[:, 1])  # (M, B)
    if normalise == "none":
        return -chosen.mean(dim=-1)
    if deviation is None:
        other = torch.where(first, value[:, 1], value[:, 0]) if by_other else chosen
        scale = other.detach().abs().mean(dim=-1)
    else:
        heads = deviation.flip(-1) if by_other else deviation
        scale = torch.where(first[:, 0], heads[:, 0], heads[:, 1])
    return -chosen.mean(dim=-1) / scale.clamp_min(NORMALISER_FLOOR)


def conservative_term(
    sampled: Tensor,
    recorded: Tensor,
    log_density: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Return the CQL term, summed over heads (Kumar et al. 2020, eq. 4 and appendix F), (M,).

    mean_b [T log sum_k exp((Q(o, a_k) - log p(a_k)) / T) - Q(o, a)] with ``sampled`` (M, 2, B, K),
    ``recorded`` (M, 2, B) and ``log_density`` (M, B, K) of the laws the a_k were drawn from. For
    uniform actions alone the density is a constant without gradient and may be left out.
    """
    if log_density is not None:
        sampled = sampled - log_density[:, None]
    soft_maximum = temperature * (sampled / temperature).logsumexp(dim=-1)  # (M, 2, B)
    return (soft_maximum - recorded).mean(dim=-1).sum(dim=-1)


def of_each(evaluate: Evaluate, observation: Tensor, actions: Tensor) -> Tensor:
    """Evaluate K actions per observation at once: (M, B, O), (M, B, K, A) -> (M, ..., B, K)."""
    rows, count = actions.shape[1:3]
    states = observation[:, :, None].expand(-1, -1, count, -1)
    value = evaluate(states.flatten(1, 2), actions.flatten(1, 2))
    return value.unflatten(-1, (rows, count))


def move(target: MemberNetwork, online: MemberNetwork, rate: float) -> None:
    """Move the target's parameters: target += rate (online - target)."""
    target.flat.lerp_(online.flat, rate)


def copy_of(online: NetworkType) -> NetworkType:
    """Return a target network: the same weights, never trained."""
    target = copy.deepcopy(online)
    for parameter in target.parameters():
        parameter.requires_grad_(False)
    return target
