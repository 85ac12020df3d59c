"""Choosing one of several candidate actions by their value."""

import torch
from torch import Tensor


def repeated(observation: Tensor, count: int) -> Tensor:
    """Repeat every observation ``count`` times in a row: (M, B, O) -> (M, B * count, O)."""
    return observation.repeat_interleave(count, dim=1)


def drawn_by_value(actions: Tensor, value: Tensor, uniform: Tensor) -> Tensor:
    """Draw one of K actions per observation with probability softmax(value): (M, B, A).

    ``actions`` (M, B * K, A) and ``value`` (M, B * K) as from :func:`repeated`, ``uniform``
    (M, B, K) on [0, 1): the largest value plus Gumbel noise follows that law.
    """
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-12, 1.0 - 1e-7)))
    return best(actions, value.view_as(uniform) + gumbel)


def best(actions: Tensor, value: Tensor) -> Tensor:
    """Return the action of largest value among (M, B * K, A), with ``value`` (M, B, K)."""
    options = actions.unflatten(1, value.shape[1:])  # (M, B, K, A)
    index = value.argmax(dim=-1)[..., None, None].expand(-1, -1, 1, actions.shape[-1])
    return options.gather(2, index)[:, :, 0]
