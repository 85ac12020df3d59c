"""tinkoff-ai/CORL: IQL and TD3+BC of `algorithms/offline`, once for each agent of the team.

The parts are put together as in each file's `train`. Changed: sizes where the job asks for others
than 256 (TD3+BC has them written into the code); learning rates; IQL's cosine schedule of the actor
is stretched until it is constant, and hidden layers start as ours do, where the job asks for that.
"""

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.optim import Adam

from studies.official.checkout import Checkout, layers
from studies.official.recorded import Array, Job, Policy, Recorded

ABSENT = ("d4rl", "gym", "wandb", "pyrallis")
ENDLESS = 10**9  # updates over which a cosine stays at its beginning


def train_iql(checkout: Checkout, data: Recorded, job: Job) -> Policy:
    """Train implicit Q-learning; the mean of the Gaussian acts."""
    return _train(checkout.load_file("algorithms/offline/iql.py", ABSENT), _iql, data, job)


def train_td3_bc(checkout: Checkout, data: Recorded, job: Job) -> Policy:
    """Train TD3+BC."""
    return _train(checkout.load_file("algorithms/offline/td3_bc.py", ABSENT), _td3_bc, data, job)


def _iql(module: ModuleType, sizes: tuple[int, int], job: Job) -> Any:
    state_dim, action_dim = sizes
    with layers(module, outputs=action_dim, he=job["he"]):
        actor = module.GaussianPolicy(state_dim, action_dim, 1.0, hidden_dim=job["actor_width"])
        critic = module.TwinQ(state_dim, action_dim, hidden_dim=job["critic_width"])
        value = module.ValueFunction(state_dim, hidden_dim=job["critic_width"])
    return module.ImplicitQLearning(
        max_action=1.0,
        actor=actor,
        actor_optimizer=Adam(actor.parameters(), lr=job["lr"]),
        q_network=critic,
        q_optimizer=Adam(critic.parameters(), lr=job["lr"]),
        v_network=value,
        v_optimizer=Adam(value.parameters(), lr=job["lr"]),
        discount=job["discount"],
        tau=job["tau"],
        beta=job["beta"],
        iql_tau=job["iql_tau"],
        max_steps=job.updates if job["actor_cosine"] else ENDLESS,
    )


def _td3_bc(module: ModuleType, sizes: tuple[int, int], job: Job) -> Any:
    with layers(module, {256: job["actor_width"]}, sizes[1], job["he"]):
        actor = module.Actor(*sizes, 1.0)
    with layers(module, {256: job["critic_width"]}, sizes[1], job["he"]):
        critics = [module.Critic(*sizes) for _ in range(2)]
    return module.TD3_BC(
        max_action=1.0,
        actor=actor,
        actor_optimizer=Adam(actor.parameters(), lr=job["lr"]),
        critic_1=critics[0],
        critic_1_optimizer=Adam(critics[0].parameters(), lr=job["lr"]),
        critic_2=critics[1],
        critic_2_optimizer=Adam(critics[1].parameters(), lr=job["lr"]),
        discount=job["discount"],
        tau=job["tau"],
        policy_noise=job["policy_noise"],
        noise_clip=0.5,
        policy_freq=job["policy_freq"],
        alpha=job["alpha"],
    )


def _train(module: ModuleType, build: Any, data: Recorded, job: Job) -> Policy:
    actors, scales = [], []
    for agent in range(data.agents):
        rows = data.transitions(agent)
        mean, std = module.compute_mean_std(rows["observations"], eps=1e-3)
        if not job["standardise"]:
            mean, std = np.zeros_like(mean), np.ones_like(std)
        for kind in ("observations", "next_observations"):
            rows[kind] = module.normalize_states(rows[kind], mean, std)
        sizes = rows["observations"].shape[1], rows["actions"].shape[1]
        buffer = module.ReplayBuffer(*sizes, len(rows["rewards"]), "cpu")
        buffer.load_d4rl_dataset(rows)
        module.set_seed(job.agent_seed(agent))
        trainer = build(module, sizes, job)
        for _ in range(job.updates):
            trainer.train(buffer.sample(job.batch_size))
        actors.append(trainer.actor.eval())
        scales.append((mean, std))
    return _policy(actors, scales)


def _policy(actors: list[Any], scales: list[tuple[Array, Array]]) -> Policy:
    """Return what `actor.act` does, for a batch of observations."""

    def act(observations: list[Array]) -> list[Array]:
        actions = []
        with torch.no_grad():
            for actor, (mean, std), seen in zip(actors, scales, observations, strict=True):
                out = actor(torch.from_numpy((seen - mean) / std).float())
                chosen = out if isinstance(out, torch.Tensor) else out.mean
                actions.append(chosen.clamp(-1.0, 1.0).numpy())
        return actions

    return act
