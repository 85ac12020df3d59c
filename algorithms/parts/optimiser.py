"""Adam over flat buffers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma and Ba 2015) with torch's fused kernel and its default constants.

    What ``torch.optim.Adam(parameters, fused=True)`` computes, bit for bit. Its constructor imports
    torch's compiler, about two seconds of every worker process; this one does not.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        self.state: dict[int, dict[str, Tensor]] = {}  # made by the first step

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor, resting: Sequence[Tensor] = ()) -> None:
        """Move the parameters along their ``grad``; the rate is a number or a scalar tensor.

        resting: parameters that stay where they are, with their moments.
        """
        if not self.state:
            self.state = {index: self._fresh(p) for index, p in enumerate(self.parameters)}
        moved = {
            index: p
            for index, p in enumerate(self.parameters)
            if all(p is not one for one in resting)
        }
        states = [self.state[index] for index in moved]
        adam(
            list(moved.values()),
            [p.grad for p in moved.values() if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    @staticmethod
    def _fresh(parameter: Tensor) -> dict[str, Tensor]:
        return {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the moments and step counts in the layout of torch's optimisers."""
        return {"state": {index: dict(state) for index, state in self.state.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a copy of what :meth:`state_dict`, or torch's own optimiser, returned."""
        device = self.parameters[0].device
        self.state = {
            index: {key: value.detach().clone().to(device) for key, value in moments.items()}
            for index, moments in state["state"].items()
        }
