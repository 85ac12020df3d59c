"""Zhendong-Wang/Diffusion-Policies-for-Offline-RL: Diffusion-QL, once for each agent of the team.

Changed: sizes where the job asks for others than 256, which are written into the code; the
critic's learning rate, 3e-4 there; `sample_action` for many observations at once instead of one,
with the same draws of candidates and choice among them.
"""

from typing import Any

import numpy as np
import torch

from studies.official.checkout import Checkout, layers
from studies.official.recorded import Array, Job, Policy, Recorded


def train(checkout: Checkout, data: Recorded, job: Job) -> Policy:
    """Train one agent each; the policy draws candidates and chooses by the target critic."""
    model = checkout.load("agents.model")
    module = checkout.load("agents.ql_diffusion", absent=("tabulate", "dateutil", "dateutil.tz"))
    sampler = checkout.load("utils.data_sampler").Data_Sampler
    agents = []
    for index in range(data.agents):
        rows = data.transitions(index)
        torch.manual_seed(job.agent_seed(index))
        np.random.seed(job.agent_seed(index))
        agent = _built(module, model, rows, job)
        agent.train(sampler(rows, "cpu", "no"), job.updates, job.batch_size)
        agents.append(agent)
    return _policy(agents, job["candidates"])


def _built(module: Any, model: Any, rows: dict[str, Array], job: Job) -> Any:
    with layers(module, {256: job["critic_width"]}), layers(model, {256: job["actor_width"]}):
        agent = module.Diffusion_QL(
            state_dim=rows["observations"].shape[1],
            action_dim=rows["actions"].shape[1],
            max_action=1.0,
            device="cpu",
            discount=job["discount"],
            tau=job["tau"],
            eta=job["eta"],
            beta_schedule="vp",
            n_timesteps=job["T"],
            lr=job["lr"],
            grad_norm=job["grad_norm"],
        )
    for group in agent.critic_optimizer.param_groups:
        group["lr"] = job["lr"]
    return agent


def _policy(agents: list[Any], candidates: int) -> Policy:
    """Return what `sample_action` does, for a batch of observations."""

    def act(observations: list[Array]) -> list[Array]:
        actions = []
        with torch.no_grad():
            for agent, seen in zip(agents, observations, strict=True):
                states = torch.from_numpy(seen).repeat_interleave(candidates, dim=0)
                drawn = agent.actor.sample(states)
                if candidates > 1:
                    value = agent.critic_target.q_min(states, drawn).view(-1, candidates)
                    index = torch.multinomial(value.softmax(dim=1), 1)[:, :, None]
                    drawn = drawn.view(len(seen), candidates, -1)
                    drawn = drawn.gather(1, index.expand(-1, -1, drawn.shape[2]))[:, 0]
                actions.append(drawn.numpy())
        return actions

    return act
