"""Networks whose every weight carries a leading member axis.

A member is one agent of one replica. All members are evaluated by one batched matrix product per
layer, and no operation mixes them, so a member's numbers do not depend on who shares the batch.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "relu": F.relu,
    "tanh": torch.tanh,
}


def fan_in_uniform(
    generators: Sequence[torch.Generator], per_replica: int, rows: int, outputs: int, fan_in: int
) -> Tensor:
    """Draw (R * per_replica, rows, outputs) from U(-1, 1) / sqrt(fan_in), torch's default law.

    Each replica draws from its own generator: its weights do not depend on the other replicas.
    """
    draws = [torch.rand(per_replica, rows, outputs, generator=g) for g in generators]
    return (2.0 * torch.cat(draws) - 1.0) / fan_in**0.5


class MemberMLP(nn.Module):
    """A multi-layer perceptron per member: (M, B, inputs) -> (M, B, outputs).

    Hidden layers are dense -> activation -> optional LayerNorm (the order of the OM2P and FQL
    critics). Weights and biases start as in ``torch.nn.Linear``.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        per_replica: int,
        sizes: Sequence[int],
        activation: str = "gelu",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.members = len(generators) * per_replica
        self.activation = ACTIVATIONS[activation]
        self.weights = nn.ParameterList(
            nn.Parameter(fan_in_uniform(generators, per_replica, i, o, fan_in=i))
            for i, o in pairwise(sizes)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(fan_in_uniform(generators, per_replica, 1, o, fan_in=i))
            for i, o in pairwise(sizes)
        )
        hidden = sizes[1:-1] if layer_norm else ()
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(self.members, 1, h)) for h in hidden)
        self.offsets = nn.ParameterList(
            nn.Parameter(torch.zeros(self.members, 1, h)) for h in hidden
        )

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate every member on its own rows, (M, B, inputs) -> (M, B, outputs)."""
        return self._run(x, frozen=False)

    def frozen(self, x: Tensor) -> Tensor:
        """Evaluate with the parameters held fixed: gradients reach ``x`` only."""
        return self._run(x, frozen=True)

    def _run(self, x: Tensor, frozen: bool) -> Tensor:
        def held(parameter: Tensor) -> Tensor:
            return parameter.detach() if frozen else parameter

        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(held(bias), x, held(weight))  # (M, B, out)
            if index < last:
                x = self.activation(x)
                if self.gains:
                    normal = F.layer_norm(x, x.shape[-1:])
                    x = torch.addcmul(held(self.offsets[index]), normal, held(self.gains[index]))
        return x
