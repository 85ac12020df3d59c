"""lizr16/OM2P: the mean-flow agent of `agents/fql_meanfield.py`, as `main.py` trains it offline.

Changed: nothing but the evaluation, and, where the job asks for ours, the weights before training
and the critic's LayerNorm.
As in `main.py` one batch of the team's transitions serves all agents, and all agents start from the
same seed.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
import numpy as np

from studies.official.checkout import Checkout
from studies.official.recorded import Array, Job, Policy, Recorded


def train(checkout: Checkout, data: Recorded, job: Job) -> Policy:
    """Train one agent each; the policy draws one action."""
    with our_layer_norm() if job["our_layer_norm"] else nullcontext():
        return _train(checkout, data, job)


def _train(checkout: Checkout, data: Recorded, job: Job) -> Policy:
    actions = max(data.about["action_sizes"])
    with our_weights(actions) if job["our_initialisation"] else nullcontext():
        module = checkout.load("agents.fql_meanfield")
    about = data.about
    buffer = checkout.load("utils.buffer").ReplayBuffer(
        about["transitions"], data.agents, about["observation_sizes"], about["action_sizes"]
    )
    buffer.load_batch_data(str(data.folder))
    random.seed(job.seed)
    np.random.seed(job.seed)
    example = buffer.sample(1)
    agents = []
    for agent in range(data.agents):
        config = module.get_config()
        config.update(_options(job))
        agents.append(
            module.FQLAgent_MeanField.create(
                job.seed, example["observations"][agent], example["actions"][agent], config
            )
        )
    for _ in range(job.updates):
        batch = buffer.sample(job.batch_size)
        for agent in range(data.agents):
            own = {name: parts[agent] for name, parts in batch.items()}
            agents[agent], _ = agents[agent].update(own)
    return sampling(agents, job.seed)


@contextmanager
def our_weights(outputs: int) -> Iterator[None]:
    """Let networks of modules that are imported meanwhile start with weights as large as ours.

    The code draws from a law of Xavier's; ours is He's, and in last layers, those with at most
    ``outputs`` outputs, uniform within 1 / sqrt(inputs). Biases start at zero as in the code.
    """
    from flax.linen import initializers

    def law(*arguments: Any, **named: Any) -> Any:
        def start(key: Any, shape: Any, *rest: Any, **more: Any) -> Any:
            scale = 2.0 if shape[-1] > outputs else 1.0 / 3.0
            return xavier(scale, "fan_in", "uniform")(key, shape, *rest, **more)

        return start

    xavier = initializers.variance_scaling
    initializers.variance_scaling = law
    try:
        yield
    finally:
        initializers.variance_scaling = xavier


@contextmanager
def our_layer_norm() -> Iterator[None]:
    """Let critics that are traced meanwhile have a LayerNorm without gain and offset, as ours."""
    from functools import partial

    from flax import linen

    before = linen.LayerNorm
    linen.LayerNorm = partial(before, use_scale=False, use_bias=False)
    try:
        yield
    finally:
        linen.LayerNorm = before


def _options(job: Job) -> dict[str, Any]:
    """Return the flags of the agent; the rest are its own defaults."""
    return {
        "lr": job["lr"],
        "batch_size": job.batch_size,
        "actor_hidden_dims": tuple(job["actor_hidden_dims"]),
        "value_hidden_dims": tuple(job["value_hidden_dims"]),
        "discount": job["discount"],
        "tau": job["tau"],
        "q_algo": "ql",
        "training_task": 0,
        "is_autograd": job["is_autograd"],
        "q_weight": job["q_weight"],
        "normalize_q_loss": job["normalize_q_loss"],
    }


def sampling(agents: list[Any], seed: int) -> Policy:
    """Return how agents act that have `sample_actions(observations, seed=key)`, clipped."""
    keys = [jax.random.PRNGKey(1_000_000 + 100 * seed + agent) for agent in range(len(agents))]

    def act(observations: list[Array]) -> list[Array]:
        actions = []
        for index, agent in enumerate(agents):
            keys[index], key = jax.random.split(keys[index])
            drawn = agent.sample_actions(observations[index], seed=key)
            actions.append(np.clip(np.asarray(drawn), -1.0, 1.0))
        return actions

    return act
