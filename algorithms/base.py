"""The contract of a learning algorithm."""

import copy
import dataclasses
import functools
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from algorithms.errors import AlgorithmError
from algorithms.kernels.choice import Kernels, using
from algorithms.parts.critics import NetworkType, TwinCritic, copy_of, move
from algorithms.parts.gaussian import GaussianPolicy
from algorithms.parts.networks import Gradients, MemberMLP, MemberNetwork, take_kernels
from algorithms.parts.normalisation import InputNorm
from algorithms.parts.optimiser import Adam
from algorithms.settings import Settings, ValueSettings
from datasets.batch import Batch

STD_FLOOR = 1e-3  # constant observation dimensions must not be blown up

Metrics = dict[str, Tensor]
Generators = Sequence[torch.Generator]
Law = Callable[..., Tensor]  # torch.randn or torch.rand
Config = TypeVar("Config", bound=Settings)
ValueConfig = TypeVar("ValueConfig", bound=ValueSettings)
TimedType = TypeVar("TimedType", bound=nn.Module)


@dataclass(frozen=True)
class TeamSpec:
    """What an algorithm knows of its team: true sizes per agent, statistics of the data.

    Statistics have a leading dimension of replicas where each learns from data of its own.
    """

    observation_sizes: tuple[int, ...]
    action_sizes: tuple[int, ...]
    observation_mean: Tensor  # (N, O), or (R, N, O)
    observation_std: Tensor  # the same
    horizon: int
    # Largest |episode return| of the data, what plans are scaled by; one per replica, or one.
    return_scale: float | tuple[float, ...] = 1.0

    @property
    def agents(self) -> int:
        """Number of agents N."""
        return len(self.observation_sizes)

    @classmethod
    def from_dataset(cls, dataset: Any) -> Self:
        """Read the team from a dataset's card."""
        card = dataset.card
        return cls(
            observation_sizes=tuple(card["observation_sizes"]),
            action_sizes=tuple(card["action_sizes"]),
            observation_mean=torch.tensor(card["observation_mean"], dtype=torch.float32),
            observation_std=torch.tensor(card["observation_std"], dtype=torch.float32),
            horizon=int(card["horizon"]),
            return_scale=max(abs(card["returns"]["min"]), abs(card["returns"]["max"])) or 1.0,
        )

    @classmethod
    def joined(cls, specs: Sequence[Self]) -> Self:
        """Return the spec of replicas that learn from data of their own, one spec each.

        AlgorithmError where they are not of one team.
        """
        first = specs[0]
        if any(_team(spec) != _team(first) for spec in specs):
            raise AlgorithmError("the seeds' data differ in sizes or horizon: train them apart")
        return dataclasses.replace(
            first,
            observation_mean=torch.stack([spec.observation_mean for spec in specs]),
            observation_std=torch.stack([spec.observation_std for spec in specs]),
            return_scale=tuple(spec.scale_of(0) for spec in specs),
        )

    def of(self, replica: int) -> Self:
        """Return what one replica knows alone."""
        if self.observation_mean.dim() == 2:
            return self
        return dataclasses.replace(
            self,
            observation_mean=self.observation_mean[replica],
            observation_std=self.observation_std[replica],
            return_scale=self.scale_of(replica),
        )

    def scale_of(self, replica: int) -> float:
        """Return what the plans of a replica are scaled by."""
        scale = self.return_scale
        return scale[replica] if isinstance(scale, tuple) else scale


def _team(spec: TeamSpec) -> tuple[Any, ...]:
    return spec.observation_sizes, spec.action_sizes, spec.horizon


class Windows(NamedTuple):
    """The windows of episodes that a trajectory method learns from, instead of transitions."""

    history: int  # steps before the present one
    horizon: int  # steps from the present one on
    discount: float  # of the return-to-go
    batch_size: int  # windows per update


def seeded(seed: int, purpose: str, device: str = "cpu") -> torch.Generator:
    """Return a generator whose numbers follow from the seed and from its purpose."""
    text = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(text[:8], "big") >> 1)


class Algorithm(nn.Module, ABC, Generic[Config]):
    """A learner for R replicas of a team of N agents: M = R * N members, replica-major.

    A subclass states, always in this order:

        __init__             its networks; the builders below make the usual ones
        trained_networks     what the optimiser moves
        acting_parameters    what is needed to act
        losses               the loss of every member, followed by its terms
        act_from             how an observation becomes an action

    Some algorithms add ``phase``, ``resting``, ``before_step`` or ``after_update`` between the
    last two. A policy with a memory has ``act`` in place of ``act_from``. A member's numbers never
    depend on another replica.
    """

    name: str
    version: int
    observes: str
    sampling_steps: int = 1  # steps from noise to action
    trajectory: Windows | None = None  # set where batches are windows of episodes
    next_actions: bool = False  # whether batches must hold the action after each transition
    cycle: int = 1  # updates after which the work repeats, for those who count it
    observation_mean: Tensor  # (M, 1, O)
    observation_std: Tensor  # (M, 1, O)
    action_mask: Tensor  # (M, 1, A)

    def __init__(self, spec: TeamSpec, settings: Config, seeds: tuple[int, ...]) -> None:
        super().__init__()
        self.spec, self.settings, self.seeds = spec, settings, seeds
        self.num_agents, self.num_replicas = spec.agents, len(seeds)
        self.observation_dim = max(spec.observation_sizes)
        self.action_dim = max(spec.action_sizes)
        self.updates = 0
        repeat = (self.num_replicas, 1, 1)
        specs = [spec.of(replica) for replica in range(self.num_replicas)]
        mean = torch.cat([one.observation_mean[:, None] for one in specs])
        std = torch.cat([one.observation_std[:, None] for one in specs])
        self.register_buffer("observation_mean", mean)
        self.register_buffer("observation_std", std.clamp_min(STD_FLOOR))
        width = torch.arange(self.action_dim)
        true = width < torch.tensor(spec.action_sizes)[:, None]  # (N, A)
        self.ragged = bool((~true).any())
        self.register_buffer("action_mask", true.float()[:, None].repeat(repeat))
        self.init_generators = [seeded(seed, "initialisation") for seed in seeds]
        self._targets: list[tuple[MemberNetwork, MemberNetwork, float]] = []
        self._make_generators("cpu")

    def _make_generators(self, device: str) -> None:
        self.training_generators = [seeded(seed, "training", device) for seed in self.seeds]
        self.acting_generators = [seeded(seed, "acting", device) for seed in self.seeds]

    def to_device(self, device: str) -> Self:
        """Move everything to ``device`` and create the optimiser there."""
        self.to(device)
        self.device = torch.device(device)
        if self.device.type != "cpu":
            self._make_generators(device)
        networks = [module for module in self.modules() if isinstance(module, MemberNetwork)]
        for network in networks:
            network.flatten()
        self.kernels = self._take_kernels(networks)
        trained = self.trained_networks()
        self.gradients = Gradients(trained)
        self.optimiser = Adam([network.flat for network in trained])
        return self

    def _take_kernels(self, networks: list[MemberNetwork]) -> Kernels:
        kind = type(self)
        if kind.step is not Algorithm.step or kind.update is not Algorithm.update:
            return Kernels("torch", "it takes steps of its own")  # from the parameters' gradients
        return take_kernels(networks, self.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy by way of the state: a plain copy would lose the link to the flat buffers."""
        other = type(self)(self.spec, self.settings, self.seeds)
        other.name, other.version, other.observes = self.name, self.version, self.observes
        with using(self.kernels.name):
            other.to_device(str(self.device))
        other.kernels = self.kernels
        other.load_state_dict(copy.deepcopy(self.state_dict(), memo))
        return other

    # What a subclass states ------------------------------------------------------------------

    @abstractmethod
    def trained_networks(self) -> list[MemberNetwork]:
        """Return the networks that the optimiser moves."""

    @abstractmethod
    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the parameters needed to act."""

    @abstractmethod
    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the loss of every member (M,), or replica (R,), and metrics of those shapes."""

    def phase(self) -> Hashable:
        """Return what Python decides about the next update, besides the learning rate.

        A recorded update (`algorithms.device.graphs`) repeats Python's decisions. An algorithm that
        decides by ``self.updates`` returns another value for each case.
        """
        return None

    def resting(self) -> list[MemberNetwork]:
        """Return the trained networks that the next update does not move; the loss lacks them."""
        return []

    def before_step(self) -> None:
        """Change the gradients before an optimiser step: clip them if the settings ask for it.

        The setting is ``gradient_clip``, the largest norm of each agent's networks.
        """
        largest = getattr(self.settings, "gradient_clip", 0.0)
        if largest > 0:
            for networks in self.clipped_together():
                self.clip_gradients(networks, largest)

    def team_networks(self) -> list[MemberNetwork]:
        """Return the trained networks that all agents of a replica have in common."""
        return []

    def clipped_together(self) -> list[list[MemberNetwork]]:
        """Return the groups of networks that are clipped together, by one norm per agent."""
        return [[network] for network in self.trained_networks()]

    def after_update(self) -> None:
        """Move the networks that :meth:`target_of` made; called after every optimiser step."""
        for target, online, rate in self._targets:
            move(target, online, rate)

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return actions (M, B, A) in [-1, 1] for standardised observations (M, B, O).

        A stochastic policy draws from ``generators``, one per replica: ``self.noise(B,
        generators)``. No gradient is kept.
        """
        raise NotImplementedError

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """Return actions (M, B, A) in [-1, 1] for observations (M, B, O), and the memory.

        memory: what the call before returned, None at the beginning of an episode; only policies
        that need the past have one. generators: one per replica, the algorithm's own by default.
        """
        chosen = self.acting_generators if generators is None else generators
        return self.act_from(self.observed(observation), chosen), memory

    # Networks that several algorithms have ---------------------------------------------------

    def deterministic_policy(self) -> MemberMLP:
        """Return a network from observations (M, B, O) to outputs (M, B, A); padding is zero."""
        settings = self.settings
        sizes = (self.observation_dim, *settings.hidden, self.action_dim)
        return MemberMLP(
            self.init_generators,
            self.num_agents,
            sizes,
            settings.activation,
            output_mask=self.output_mask,
        )

    def gaussian_policy(
        self, log_std_bounds: tuple[float, float], deviation: str
    ) -> GaussianPolicy:
        """Return a network from observations to the mean and log deviation of a Gaussian.

        deviation: "constant" or "observation", what it depends on.
        """
        return GaussianPolicy(
            self.init_generators,
            self.num_agents,
            self.observation_dim,
            self.action_dim,
            self.settings.hidden,
            self.settings.activation,
            log_std_bounds,
            self.output_mask,
            deviation,
        )

    def timed_policy(self, kind: Callable[..., TimedType], times: int) -> TimedType:
        """Return a network f(observation, noisy action, times) with ``times`` time inputs.

        kind: ``TimedPolicy`` for one network per agent, or one of those of `parts.joint`.
        """
        return kind(
            self.init_generators,
            self.num_agents,
            self.observation_dim,
            self.action_dim,
            times,
            self.settings.hidden,
            self.settings.activation,
            self.output_mask,
        )

    def twin_critic(
        self: "Algorithm[ValueConfig]", input_norm: InputNorm | None = None
    ) -> TwinCritic:
        """Return two Q(observation, action) for every member."""
        settings = self.settings
        return TwinCritic(
            self.init_generators,
            self.num_agents,
            self.observation_dim,
            self.action_dim,
            settings.critic_hidden,
            settings.activation,
            settings.critic_layer_norm,
            input_norm,
            settings.critic_norm_gain,
        )

    def target_of(self, online: NetworkType, rate: float) -> NetworkType:
        """Return a copy of a network that follows it: target += rate (online - target).

        It is never trained and moves after every update. The attribute that holds the target is
        named ``target_...`` after the network's, or ``average_...`` where it acts or samples.
        """
        target = copy_of(online)
        pairs = zip(_networks_of(target), _networks_of(online), strict=True)
        self._targets += [(one, other, rate) for one, other in pairs]
        return target

    # What all share --------------------------------------------------------------------------

    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step of everything; return metrics per replica (R,), detached."""
        return self.step(batch, self.learning_rate())

    def step(self, batch: Batch, learning_rate: float | Tensor) -> Metrics:
        """Take the step of :meth:`update`; the rate is a number or a scalar on the device."""
        if self.ragged:
            middle = [1] * (batch.action.dim() - 2)
            mask = self.action_mask.view(-1, *middle, self.action_dim)
            batch = batch._replace(action=batch.action * mask)
        loss, metrics = self.losses(batch)
        self._check_members(loss, metrics)
        resting = self.resting()
        self.gradients.take(loss.sum(), resting)
        self.before_step()
        self.optimiser.step(learning_rate, [network.flat for network in resting])
        self.updates += 1
        with torch.no_grad():
            self.after_update()
        shape = (self.num_replicas, -1)
        return {key: value.detach().view(shape).mean(dim=1) for key, value in metrics.items()}

    def _check_members(self, loss: Tensor, metrics: Metrics) -> None:
        """Refuse a loss or a metric without one number per member: replicas would mix in it."""
        for name, value in (("a loss", loss), *metrics.items()):
            own = value.dim() == 1 or (value is not loss and value.dim() > 1)
            if not own or value.shape[0] % self.num_replicas:
                raise AlgorithmError(
                    f"losses() of {self.name} returned {name} of shape {tuple(value.shape)}; it "
                    "needs one number per member, (M,): average over rows and never over members."
                )

    def learning_rate(self) -> float:
        """Return the rate of the next update: constant, or a cosine down to zero."""
        settings = self.settings
        if settings.lr_schedule == "constant" or settings.total_updates == 0:
            return settings.learning_rate
        share = min(self.updates / settings.total_updates, 1.0)
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))

    def observed(self, observation: Tensor) -> Tensor:
        """Standardise observations (M, B, O) with the dataset's statistics."""
        if not self.settings.standardise:
            return observation
        return (observation - self.observation_mean) / self.observation_std

    def observations(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return standardised observations and those that followed them, (M, B, O) each."""
        return self.observed(batch.observation), self.observed(batch.next_observation)

    def noise(self, rows: int, generators: Generators | None = None) -> Tensor:
        """Draw Gaussian noise (M, rows, A), each replica from its own generator."""
        drawn = self.draw(torch.randn, (self.num_agents, rows, self.action_dim), generators)
        return drawn * self.action_mask if self.ragged else drawn

    def uniform(self, rows: int, width: int = 1, generators: Generators | None = None) -> Tensor:
        """Draw U[0, 1) numbers (M, rows, width), each replica from its own generator."""
        return self.draw(torch.rand, (self.num_agents, rows, width), generators)

    def draw(self, law: Law, shape: tuple[int, ...], generators: Generators | None) -> Tensor:
        """Draw numbers by ``law``, ``shape`` for each replica from its own generator.

        They lie on the device. All random numbers are drawn here, so that a caller who cannot draw
        can supply them
        (`algorithms.device.acting`).
        """
        chosen = self.training_generators if generators is None else generators
        draws = [law(shape, generator=g, device=g.device) for g in chosen]
        return (torch.cat(draws) if len(draws) > 1 else draws[0]).to(self.device)

    @property
    def output_mask(self) -> Tensor | None:
        """The mask for a policy's outputs, or None where every agent uses all dimensions."""
        return self.action_mask if self.ragged else None

    def mean_over_action(self, value: Tensor) -> Tensor:
        """Average (M, B, A) over each agent's true action dimensions: (M, B)."""
        if not self.ragged:
            return value.mean(dim=-1)
        mask = self.action_mask
        return (value * mask).sum(dim=-1) / mask.sum(dim=-1)

    def clip_gradients(self, networks: Sequence[MemberNetwork], largest: float) -> None:
        """Scale the gradients of ``networks`` so that no agent's norm exceeds ``largest``.

        The networks, and an agent's heads, count as one; no agent's norm enters another's. Networks
        of a team have one norm per replica.
        """
        of_teams = networks[0] in self.team_networks()
        members = self.num_replicas * (1 if of_teams else self.num_agents)
        squares = [self._squared_norm(network, members) for network in networks]
        norm = functools.reduce(torch.add, squares).sqrt()  # (M,)
        scale = largest / norm.clamp_min(largest)
        for network in networks:
            heads = len(network.gradients[0]) // members
            each = scale.repeat_interleave(heads)
            scales = [each.view(-1, *[1] * (g.dim() - 1)) for g in network.gradients]
            torch._foreach_mul_(network.gradients, scales)

    @staticmethod
    def _squared_norm(network: MemberNetwork, members: int) -> Tensor:
        """Return the squared norm of the gradients of every agent's heads together, (M,)."""
        squares = [g.square().flatten(1).sum(dim=1) for g in network.gradients]  # (heads * M,)
        # Added one by one: how a sum over a stack rounds depends on the number of replicas in it.
        return functools.reduce(torch.add, squares).view(members, -1).sum(dim=1)

    # Checkpoints: nn.Module.state_dict() picks these up as "_extra_state" ----------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return optimiser, update count and generator states (tensors and plain numbers)."""
        return {
            "updates": self.updates,
            "optimiser": self.optimiser.state_dict(),
            "training_generators": [g.get_state() for g in self.training_generators],
            "acting_generators": [g.get_state() for g in self.acting_generators],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.updates = state["updates"]
        self.optimiser.load_state_dict(state["optimiser"])
        for name in ("training_generators", "acting_generators"):
            for generator, value in zip(getattr(self, name), state[name], strict=True):
                generator.set_state(value.cpu())


def _networks_of(module: nn.Module) -> list[MemberNetwork]:
    """Return the networks of a policy or critic, or the network itself."""
    return [one for one in module.modules() if isinstance(one, MemberNetwork)]
