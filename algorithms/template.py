"""A complete algorithm to start your own from: deterministic cloning under a robust loss.

Copy this file, rename what the last lines register, and change `losses`. It works as it is:

    python -m bench check my-algorithm --plugin my_algorithm.py
    python -m bench run --algos my-algorithm,bc --preset smoke --plugin my_algorithm.py

docs/adding-an-algorithm.md walks through it. State here what you implement (paper, equations),
where paper and code differ and which you took.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import algorithms
from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.networks import MemberNetwork
from algorithms.settings import LogRange, Settings, setting
from datasets.batch import Batch


@dataclass(frozen=True)
class MySettings(Settings):
    """The hyper-parameters, beside the sizes and rates that all algorithms share."""

    width: float = setting(
        0.5,
        "error beyond which the loss grows linearly",
        above=0,
        search=LogRange(0.05, 5),  # where `tune` looks for a better value
    )


class MyAlgorithm(Algorithm[MySettings]):
    """One deterministic actor per member (agent of a replica); M members are trained at once."""

    def __init__(self, spec: TeamSpec, settings: MySettings, seeds: tuple[int, ...]) -> None:
        """Build the networks; others than the usual ones draw from `self.init_generators`."""
        super().__init__(spec, settings, seeds)
        self.policy = self.deterministic_policy()  # or timed_policy, gaussian_policy, twin_critic

    def trained_networks(self) -> list[MemberNetwork]:
        """Return what the optimiser moves; networks made by `target_of` are not among them."""
        return [self.policy]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the parameters needed to act."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the loss of every member (M,), never mixing members, and what to log, each (M,).

        Draw noise with `self.noise(rows)` and `self.uniform(rows)`; never read a tensor's value
        into Python, which would make a GPU wait.
        """
        action = torch.tanh(self.policy(self.observed(batch.observation)))  # (M, B, A)
        error = F.huber_loss(action, batch.action, reduction="none", delta=self.settings.width)
        loss = self.mean_over_action(error).mean(dim=-1)  # padding left out
        return loss, {"actor/cloning_loss": loss}

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return actions (M, B, A) in [-1, 1] for standardised observations (M, B, O).

        A stochastic policy draws `self.noise(rows, generators)`.
        """
        return torch.tanh(self.policy(observation))


algorithms.register(
    "my-algorithm",
    MyAlgorithm,
    settings=MySettings,
    summary="deterministic cloning under a robust loss",
    source="Huber, Annals of Mathematical Statistics 35 (1964)",
    deviations="none",
    observes="own",  # "joint" where `act_from` reads the other agents' observations
    version=1,  # raise it when the numbers change
)
