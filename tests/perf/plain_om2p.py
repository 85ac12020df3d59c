"""What one update of OM2P takes when written plainly: the yardstick of its overhead.

`REFERENCE_FLOPS` is written down so that it stands still; a test holds it against the plain update
below, counted by torch. Plain means: one evaluation per thing evaluated, concatenated inputs, no
gradients that are not asked for. Three agents, observation 18, action 2, batch 256, a twin critic.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AGENTS, OBSERVATION, ACTION, BATCH, STEP = 3, 18, 2, 256, 1e-3
REFERENCE_FLOPS = {"256x2": 2_154_823_680, "64x2": 161_218_560}


def network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two hidden layers; activations and LayerNorm count no floating-point operations."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(),
        nn.Linear(width, outputs),
    )  # fmt: skip


def update(width: int) -> None:
    """Take the gradients of one update, agent by agent, as the paper's formulas read."""
    for _ in range(AGENTS):
        policy = network(OBSERVATION + ACTION + 2, width, ACTION)
        critics = [network(OBSERVATION + ACTION, width, 1) for _ in range(2)]
        targets = [network(OBSERVATION + ACTION, width, 1) for _ in range(2)]
        seen, following = torch.randn(BATCH, OBSERVATION), torch.randn(BATCH, OBSERVATION)
        action, noise, times = (torch.randn(BATCH, ACTION) for _ in range(3))

        def move(states: Tensor, at: Tensor, when: Tensor) -> Tensor:
            return policy(torch.cat([states, at, when], dim=-1))  # noqa: B023

        def values(heads: list[nn.Sequential], states: Tensor, at: Tensor) -> list[Tensor]:
            return [head(torch.cat([states, at], dim=-1)) for head in heads]

        with torch.no_grad():  # the TD target, and the identity's derivative by one difference
            next_action = noise + move(following, noise, times)
            goal = torch.stack(values(targets, following, next_action)).amin(dim=0)
            there = move(seen, noise + STEP * action, times + STEP)
        here = move(seen, noise, times)
        flow_loss = F.mse_loss(here, (action - noise - (there - here.detach()) / STEP))
        one_step = noise + move(seen, noise, times)
        for head in critics:
            head.requires_grad_(False)
        q_loss = -torch.stack(values(critics, seen, one_step)).mean()
        actor = torch.autograd.grad(flow_loss + q_loss, list(policy.parameters()))
        for head in critics:
            head.requires_grad_(True)
        critic_loss = sum(F.mse_loss(value, goal) for value in values(critics, seen, action))
        weights = [p for head in critics for p in head.parameters()]
        assert isinstance(critic_loss, Tensor)
        assert len(actor) + len(torch.autograd.grad(critic_loss, weights)) == 18
