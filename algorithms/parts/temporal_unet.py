"""A U-Net over time for every agent of a team, coupled by attention between agents.

Source: the temporal U-Net of Diffuser (Janner et al. 2022) with MADiff's attention on the features
that skip to the decoder (arXiv 2305.17330; zbzhu99/madiff 120bf5c, `SharedConvAttentionDeconv`).
All agents share its weights; every weight has a leading axis of replicas and every layer is one
batched matrix product. Features are (R, B, N, T, C).
CoFlow's (Guowei-Zou/coflow-release 91027bc) is the same with gated attention, whose queries, keys
and values read the embedding too (`TemporalSelfAttention`).
Differences: LayerNorm over channels in place of GroupNorm, and repetition and convolution in place
of the transposed convolution, so that no operation mixes replicas.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algorithms.parts.networks import HE_GAIN, MemberNetwork, fan_in_uniform

Draws = Sequence[torch.Generator]
KERNEL = 5


class Linear(nn.Module):
    """A dense layer per replica on the last axis: (R, ..., inputs) -> (R, ..., outputs)."""

    bias: nn.Parameter | None

    def __init__(
        self,
        draws: Draws,
        inputs: int,
        outputs: int,
        gain: float = HE_GAIN,
        has_bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(gain * fan_in_uniform(draws, 1, inputs, outputs, fan_in=inputs))
        bias = fan_in_uniform(draws, 1, 1, outputs, fan_in=inputs) if has_bias else None
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate as one batched product."""
        rows = x.reshape(len(x), -1, x.shape[-1])
        if self.bias is None:
            return torch.bmm(rows, self.weight).view(*x.shape[:-1], -1)
        return torch.baddbmm(self.bias, rows, self.weight).view(*x.shape[:-1], -1)


class Convolution(nn.Module):
    """A convolution over time per replica: (R, B, N, T, in) -> (R, B, N, T / stride, out)."""

    def __init__(
        self, draws: Draws, inputs: int, outputs: int, kernel: int = KERNEL, stride: int = 1
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.linear = Linear(draws, kernel * inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Gather each step's neighbours, zeros beyond the ends, and multiply."""
        padded = F.pad(x, (0, 0, self.kernel // 2, self.kernel // 2))
        out: Tensor = self.linear(padded.unfold(3, self.kernel, self.stride).flatten(-2))
        return out


class Normalised(nn.Module):
    """Convolution, LayerNorm over channels with gain and offset, Mish."""

    def __init__(self, draws: Draws, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = Convolution(draws, inputs, outputs)
        self.gain = nn.Parameter(torch.ones(len(draws), 1, 1, 1, outputs))
        self.offset = nn.Parameter(torch.zeros(len(draws), 1, 1, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate."""
        x = self.convolution(x)
        return F.mish(F.layer_norm(x, x.shape[-1:]) * self.gain + self.offset)


class Residual(nn.Module):
    """Two convolutions with the embedding added in between, and a skip."""

    def __init__(self, draws: Draws, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.first = Normalised(draws, inputs, outputs)
        self.second = Normalised(draws, outputs, outputs)
        self.embedded = Linear(draws, embedding, outputs)
        self.skip = Linear(draws, inputs, outputs, 1.0) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Evaluate; the embedding (R, B, E) is the same for all agents and steps."""
        added = self.embedded(F.mish(embedding))[:, :, None, None]
        out: Tensor = self.second(self.first(x) + added) + self.skip(x)
        return out


class AgentAttention(nn.Module):
    """Attention between the agents, each a token of all its steps and channels; residual."""

    def __init__(self, draws: Draws, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (
            Linear(draws, channels, channels, 1.0) for _ in range(4)
        )

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        """Let every agent read the others: (R, B, N, T, C) -> the same."""
        read = _read(self.query(x), self.key(x), self.value(x), self.heads)
        out: Tensor = x + self.out(read)
        return out


class GatedAttention(nn.Module):
    """Attention between the agents that reads level and return; its gate starts closed.

    x + g Attention(x, embedding), with one trained number g, which is 0 at first: every agent
    plans alone until gradients open it. Queries and keys have a quarter of the channels. Keys have
    no bias and do not read the embedding: what is the same for all agents leaves a softmax over
    them as it is.
    """

    def __init__(self, draws: Draws, channels: int, heads: int, embedding: int) -> None:
        super().__init__()
        self.heads = heads
        narrow = heads * max(1, channels // (4 * heads))
        self.query = Linear(draws, channels, narrow, 1.0)
        self.key = Linear(draws, channels, narrow, 1.0, has_bias=False)
        self.value = Linear(draws, channels, channels, 1.0)
        self.query_embedded = Linear(draws, embedding, narrow, 1.0)
        self.value_embedded = Linear(draws, embedding, channels, 1.0)
        self.gate = nn.Parameter(torch.zeros(len(draws), 1, 1, 1, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Let every agent read the others: (R, B, N, T, C), (R, B, E) -> (R, B, N, T, C)."""
        active = F.mish(embedding)
        query = self.query(x) + self.query_embedded(active)[:, :, None, None]
        value = self.value(x) + self.value_embedded(active)[:, :, None, None]
        out: Tensor = x + self.gate * _read(query, self.key(x), value, self.heads)
        return out


def _read(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Return what each agent reads of all, (R, B, N, T, C); a token is all of an agent's steps."""

    def split(y: Tensor) -> Tensor:  # (R, B, heads, N, T * C / heads)
        return y.unflatten(-1, (heads, -1)).movedim(4, 2).flatten(-2)

    queries, keys = split(query), split(key)
    weight = (queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])).softmax(dim=-1)
    return (weight @ split(value)).unflatten(-1, (value.shape[3], -1)).movedim(2, 4).flatten(-2)


class TemporalUnet(MemberNetwork):
    """f(x, level, return): plans (R, B, N, T, O) in and out, T halved at every resolution.

    gated: whether attention is CoFlow's, in whose code it follows both blocks in the middle.
    """

    def __init__(
        self,
        draws: Draws,
        observation_dim: int,
        width: int,
        multipliers: Sequence[int],
        heads: int,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.gated = width, gated
        channels = [width * m for m in multipliers]
        self.time = nn.ModuleList(
            [Linear(draws, width, 4 * width), Linear(draws, 4 * width, width)]
        )
        self.returns = nn.ModuleList([Linear(draws, 1, width), Linear(draws, width, width)])

        def block(inputs: int, outputs: int) -> Residual:
            return Residual(draws, inputs, outputs, 2 * width)

        def attention(channels: int) -> nn.Module:
            if gated:
                return GatedAttention(draws, channels, heads, 2 * width)
            return AgentAttention(draws, channels, heads)

        ins = [observation_dim, *channels[:-1]]
        self.down = nn.ModuleList(
            nn.ModuleList([block(i, o), block(o, o)]) for i, o in zip(ins, channels, strict=True)
        )
        self.shrink = nn.ModuleList(Convolution(draws, c, c, 3, 2) for c in channels[:-1])
        self.middle = nn.ModuleList([block(channels[-1], channels[-1]) for _ in range(2)])
        pairs = list(zip(channels[1:], channels[:-1], strict=True))[::-1]  # deepest first
        self.attention = nn.ModuleList(attention(c) for c, _ in pairs)
        self.up = nn.ModuleList(
            nn.ModuleList([block(2 * deep, high), block(high, high)]) for deep, high in pairs
        )
        self.grow = nn.ModuleList(Convolution(draws, high, high, 3) for _, high in pairs)
        self.middle_attention = attention(channels[-1])
        self.last = Normalised(draws, channels[0], channels[0])
        self.out = Linear(draws, channels[0], observation_dim, 1.0)

    def _embedding(self, level: Tensor, returns: Tensor, known: Tensor) -> Tensor:
        """Return the embedding (R, B, 2 W) of levels and returns; ``known`` 0 hides a return."""
        half = torch.arange(self.width // 2, dtype=level.dtype, device=level.device)
        frequency = torch.exp(-math.log(10_000.0) * half / max(1, len(half) - 1))
        angle = level[..., None] * frequency
        time = torch.cat([angle.sin(), angle.cos()], dim=-1)
        time = F.pad(time, (0, self.width - time.shape[-1]))
        time = self.time[1](F.mish(self.time[0](time)))
        wanted = self.returns[1](F.mish(self.returns[0](returns[..., None])))
        return torch.cat([time, wanted * known[..., None]], dim=-1)

    def forward(self, x: Tensor, level: Tensor, returns: Tensor, known: Tensor) -> Tensor:
        """Evaluate; ``level``, ``returns`` and ``known`` (0 hides the return) are (R, B)."""
        embedding = self._embedding(level, returns, known)
        skips = []
        for index, blocks in enumerate(self.down):
            x = _through(blocks, x, embedding)
            skips.append(x)
            if index < len(self.shrink):
                x = self.shrink[index](x)
        first, second = self.middle
        if self.gated:
            x = self.middle_attention(second(first(x, embedding), embedding), embedding)
        else:
            x = second(self.middle_attention(first(x, embedding), embedding), embedding)
        for attention, blocks, grow in zip(self.attention, self.up, self.grow, strict=True):
            x = torch.cat([x, attention(skips.pop(), embedding)], dim=-1)
            x = _through(blocks, x, embedding)
            x = grow(x.repeat_interleave(2, dim=3))
        out: Tensor = self.out(self.last(x))
        return out


def _through(blocks: Any, x: Tensor, embedding: Tensor) -> Tensor:
    """Evaluate blocks one after another."""
    for block in blocks:
        x = block(x, embedding)
    return x
