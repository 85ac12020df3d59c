"""seohongpark/fql: the agent of `agents/fql.py`, once for each agent of the team.

Changed: nothing but the evaluation, and, where the job asks for ours, the weights before training
and the critic's LayerNorm. Observations are not standardised, as in its `main.py`.
"""

from contextlib import nullcontext

import numpy as np

from studies.official.checkout import Checkout
from studies.official.codes.om2p import our_layer_norm, our_weights, sampling
from studies.official.recorded import Job, Policy, Recorded


def train(checkout: Checkout, data: Recorded, job: Job) -> Policy:
    """Train one agent each; the one-step policy draws one action."""
    with our_layer_norm() if job["our_layer_norm"] else nullcontext():
        return _train(checkout, data, job)


def _train(checkout: Checkout, data: Recorded, job: Job) -> Policy:
    actions = max(data.about["action_sizes"])
    with our_weights(actions) if job["our_initialisation"] else nullcontext():
        module = checkout.load("agents.fql")
    datasets = checkout.load("utils.datasets")
    agents = []
    for index in range(data.agents):
        rows = data.transitions(index)
        rows["masks"] = 1.0 - rows["terminals"]
        dataset = datasets.Dataset.create(**rows)
        np.random.seed(job.agent_seed(index))
        example = dataset.sample(1)
        config = module.get_config()
        config.update(
            {
                "lr": job["lr"],
                "batch_size": job.batch_size,
                "actor_hidden_dims": tuple(job["actor_hidden_dims"]),
                "value_hidden_dims": tuple(job["value_hidden_dims"]),
                "discount": job["discount"],
                "tau": job["tau"],
                "alpha": job["alpha"],
                "normalize_q_loss": job["normalize_q_loss"],
            }
        )
        agent = module.FQLAgent.create(
            job.agent_seed(index), example["observations"], example["actions"], config
        )
        for _ in range(job.updates):
            agent, _ = agent.update(dataset.sample(job.batch_size))
        agents.append(agent)
    return sampling(agents, job.seed)
