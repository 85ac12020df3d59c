"""A plain implementation of `om2p` in PyTorch, to compare our update with.

It uses one batched product per layer for all agents and no other optimisation: seven separate
evaluations, torch's Adam with its defaults, targets updated one tensor at a time.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.batch import Batch

DISCOUNT, RATE, STEP, Q_WEIGHT, EQUAL_SHARE = 0.99, 0.005, 5e-3, 0.1, 0.25


class Networks(nn.Module):
    """A multi-layer perceptron for each of `members`."""

    def __init__(self, members: int, sizes: Sequence[int], layer_norm: bool) -> None:
        super().__init__()
        self.layer_norm = layer_norm
        self.weights = nn.ParameterList(
            torch.empty(members, i, o).uniform_(-1, 1) / i**0.5 for i, o in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(members, 1, o) for o in sizes[1:])

    def forward(self, x: Tensor) -> Tensor:
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if index < len(self.weights) - 1:
                x = F.gelu(x)
                x = F.layer_norm(x, x.shape[-1:]) if self.layer_norm else x
        return x


class PlainOm2p:
    """One update of every agent: mean-flow loss, Q term, twin critic with a target."""

    def __init__(self, agents: int, observation: int, action: int, hidden: Sequence[int]) -> None:
        self.policy = Networks(agents, (observation + action + 2, *hidden, action), False)
        self.critic, self.target = (
            Networks(2 * agents, (observation + action, *hidden, 1), True) for _ in range(2)
        )
        self.target.load_state_dict(self.critic.state_dict())
        self.optimiser = torch.optim.Adam([*self.policy.parameters(), *self.critic.parameters()])

    def velocity(self, seen: Tensor, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        out: Tensor = self.policy(torch.cat([seen, x, start, end], dim=-1))
        return out

    def act(self, seen: Tensor, noise: Tensor) -> Tensor:
        zero = torch.zeros_like(noise[..., :1])
        return (noise + self.velocity(seen, noise, zero, zero + 1)).clamp(-1, 1)

    def value(self, critic: Networks, seen: Tensor, action: Tensor) -> Tensor:
        rows = torch.cat([seen, action], dim=-1).repeat_interleave(2, dim=0)
        out: Tensor = critic(rows)
        return out.view(-1, 2, action.shape[1])

    def update(self, batch: Batch) -> dict[str, Tensor]:
        seen, following = batch.observation, batch.next_observation
        noise = torch.randn_like(batch.action)
        velocity = batch.action - noise
        times = torch.rand(2, *batch.action.shape[:-1], 1)
        start, end = times.amin(dim=0), times.amax(dim=0)
        end = torch.where(torch.rand_like(end) < EQUAL_SHARE, start, end)
        x = (1 - start) * noise + start * batch.action
        here = self.velocity(seen, x, start, end)
        with torch.no_grad():
            width = torch.minimum(end - start, torch.full_like(end, STEP))
            there = self.velocity(seen, x + width * velocity, start + width, end)
            slope = torch.where(width > 0, (there - here) / width.clamp_min(1e-3), 0.0)
            following_action = self.act(following, torch.randn_like(noise))
            after = self.value(self.target, following, following_action).mean(dim=1)
            goal = batch.reward + DISCOUNT * (1 - batch.terminated) * after
        flow_loss = (here - (velocity + (end - start) * slope)).square().mean(dim=(1, 2)).sum()

        self.critic.requires_grad_(False)
        guided = self.value(self.critic, seen, self.act(seen, torch.randn_like(noise)))
        self.critic.requires_grad_(True)
        q = guided.mean(dim=1)
        q_loss = (-q.mean(dim=1) / q.detach().abs().mean(dim=1)).sum()
        errors = self.value(self.critic, seen, batch.action) - goal[:, None]
        critic_loss = errors.square().mean(dim=(1, 2)).sum()

        self.optimiser.zero_grad()
        (flow_loss + Q_WEIGHT * q_loss + critic_loss).backward()
        self.optimiser.step()
        with torch.no_grad():
            for old, new in zip(self.target.parameters(), self.critic.parameters(), strict=True):
                old.lerp_(new, RATE)
        return {"flow": flow_loss.detach(), "q": q_loss.detach(), "critic": critic_loss.detach()}
