"""ling-pan/OMAR: CQL and OMAR of `algorithms/maddpg.py`, as `main.py` trains them.

Changed: everything stays on the CPU, on today's torch; the environment that tells it sizes is a
table of the task's; hidden layers start as ours do where the job asks for that.
The conservative weight and OMAR's coefficient come from the code's own table of datasets, which
overrides its command line. Their MPE form is run, so only the task with three equal agents.
"""

import random
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from datasets.errors import DatasetError
from studies.official.checkout import Checkout, layers, old_torch_without_cuda
from studies.official.recorded import Array, Job, Policy, Recorded

SCENARIOS = {"mpe/spread": "simple_spread"}


def train(checkout: Checkout, data: Recorded, job: Job) -> Policy:
    """Train the team; the policy acts with BatchNorm's running statistics, as `eval_policy`."""
    scenario = SCENARIOS.get(data.about["task"])
    if scenario is None:
        raise DatasetError(f"this driver of OMAR's code knows {', '.join(SCENARIOS)} only.")
    warnings.filterwarnings("ignore", category=FutureWarning)  # torch renames what the code calls
    maddpg = checkout.load("algorithms.maddpg")
    networks = checkout.load("utils.networks")
    buffer = _filled(checkout, data)
    torch.manual_seed(job.seed)
    np.random.seed(job.seed)
    random.seed(job.seed)
    outputs = max(data.about["action_sizes"])
    with old_torch_without_cuda(), layers(networks, outputs=outputs, he=job["he"]):
        team = maddpg.MATD3.init_from_env(
            _sizes(data),
            scenario,
            data.quality,
            tau=job["tau"],
            lr=job["lr"],
            gamma=job["gamma"],
            hidden_dim=job["hidden_dim"],
            cql=True,
            omar=job["omar"],
            batch_size=job.batch_size,
            lse_temp=1.0,
            num_sampled_actions=10,
            omar_iters=3,
            omar_mu=0.0,
            omar_sigma=2.0,
            omar_num_samples=10,
            omar_num_elites=10,
        )
        team.prep_training(device="cpu")
        for _ in range(job.updates):
            for agent in range(team.nagents):
                team.update(buffer.sample(job.batch_size, to_gpu=False), agent)
            team.update_all_targets()
    team.prep_rollouts(device="cpu")
    return _policy(team)


def _sizes(data: Recorded) -> Any:
    """Return what `init_from_env` reads of an environment."""
    spaces = {
        kind: [SimpleNamespace(shape=(size,), high=np.ones(size)) for size in data.about[kind]]
        for kind in ("observation_sizes", "action_sizes")
    }
    return SimpleNamespace(
        observation_space=spaces["observation_sizes"],
        action_space=spaces["action_sizes"],
        agent_types=["agent"] * data.agents,
    )


def _filled(checkout: Checkout, data: Recorded) -> Any:
    """Return the code's own replay buffer with the exported files in it."""
    about = data.about
    kind = checkout.load("utils.buffer").ReplayBuffer
    buffer = kind(
        about["transitions"], data.agents, about["observation_sizes"], about["action_sizes"]
    )
    buffer.load_batch_data(str(data.folder))
    return buffer


def _policy(team: Any) -> Policy:
    def act(observations: list[Array]) -> list[Array]:
        with torch.no_grad():
            return [
                action.numpy() for action in team.step([torch.from_numpy(o) for o in observations])
            ]

    return act
