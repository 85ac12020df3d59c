"""Settings of the conservative actor-critics: `td3bc`, `cql`, `omar`, `iql` and their kin.

Sizes are those of OMAR's HalfCheetah set, whose batch and order of updates are the `paper`
preset's; its MPE set (64 wide, rate .01, batch 1024) belongs to runs of 2,000 updates.
"""

from dataclasses import dataclass
from typing import Literal

from algorithms.settings.cloning import BcGaussianSettings
from algorithms.settings.common import (
    Q_WEIGHTS,
    Activation,
    CriticSettings,
    ValueSettings,
    as_in,
    require,
    setting,
)
from algorithms.settings.search import Choice, LinearRange, LogRange

RELU_256 = (256, 256)  # policy and critic of the whole family


@dataclass(frozen=True)
class Td3BcSettings(CriticSettings):
    """TD3+BC: deterministic actor, twin critic, cloning in the actor's loss."""

    hidden: tuple[int, ...] = as_in(CriticSettings, "hidden", RELU_256)
    activation: Activation = as_in(CriticSettings, "activation", "relu")
    critic_hidden: tuple[int, ...] = as_in(CriticSettings, "critic_hidden", RELU_256)
    critic_layer_norm: bool = as_in(CriticSettings, "critic_layer_norm", False)
    q_weight: float = setting(
        2.5, "weight lambda of the Q term; 0 is pure cloning", least=0, search=Q_WEIGHTS
    )
    gradient_clip: float = setting(
        0.0, "largest gradient norm of an agent's actor, and of its critic; 0 is off", least=0
    )


@dataclass(frozen=True)
class RebracSettings(Td3BcSettings):
    """ReBRAC: TD3+BC with a cloning term in the TD target."""

    hidden: tuple[int, ...] = as_in(Td3BcSettings, "hidden", (256, 256, 256))
    critic_hidden: tuple[int, ...] = as_in(Td3BcSettings, "critic_hidden", (256, 256, 256))
    critic_layer_norm: bool = as_in(Td3BcSettings, "critic_layer_norm", True)
    learning_rate: float = as_in(Td3BcSettings, "learning_rate", 1e-3)
    q_weight: float = setting(
        1.0,
        "weight of the Q term, the inverse of the published weight of cloning; 0 is pure cloning",
        least=0,
        search=Q_WEIGHTS,
    )
    critic_cloning_weight: float = setting(
        1.0,
        "weight of the squared distance between next policy action and next recorded action in "
        "the TD target",
        least=0,
        search=LogRange(0.01, 100),
    )
    smoothing_std: float = setting(
        0.2, "standard deviation of the noise on target actions", least=0
    )
    smoothing_clip: float = setting(0.5, "largest noise on target actions", least=0)
    policy_every: int = setting(
        2, "updates of the critic for one of the policy and of all targets", least=1
    )


@dataclass(frozen=True)
class CqlSettings(ValueSettings):
    """MA-CQL: deterministic actor, conservative twin critic."""

    hidden: tuple[int, ...] = as_in(ValueSettings, "hidden", RELU_256)
    activation: Activation = as_in(ValueSettings, "activation", "relu")
    critic_hidden: tuple[int, ...] = as_in(ValueSettings, "critic_hidden", RELU_256)
    critic_layer_norm: bool = as_in(ValueSettings, "critic_layer_norm", False)
    gradient_clip: float = as_in(Td3BcSettings, "gradient_clip", 0.5)
    input_norm: Literal["batch", "none"] = setting(
        "batch",
        "normalise the inputs of policy and critic, actions included: by BatchNorm (as OMAR's "
        "code) or not",
    )
    action_penalty: float = setting(
        1e-3, "weight of the mean squared action in the actor's loss", least=0
    )
    cql_weight: float = setting(
        1.0,
        "weight of the conservative term (cql_alpha)",
        least=0,
        search=LogRange(0.1, 20),
    )
    cql_samples: int = setting(10, "actions of each law in the conservative log-sum-exp", least=1)
    cql_temperature: float = setting(1.0, "temperature of the conservative log-sum-exp", above=0)
    cql_laws: Literal["uniform", "uniform_and_policy"] = setting(
        "uniform",
        "laws of the log-sum-exp's actions; the policy's are noisy actions at o and at o' "
        "(OMAR on HalfCheetah)",
    )
    cql_noise: float = setting(0.2, "standard deviation of the policy's noisy actions", above=0)


@dataclass(frozen=True)
class OmarSettings(CqlSettings):
    """OMAR: MA-CQL whose actor also imitates the best action that a search finds."""

    omar_weight: float = setting(
        0.9,
        "share c of the searched action in the actor's loss; 1 - c is the Q term's (omar_coe)",
        least=0,
        most=1,
        search=LinearRange(0.1, 1),
    )
    search: Literal["softmax", "elites"] = setting(
        "softmax", "how a round refits the search: softmax of Q (MPE) or elites (HalfCheetah)"
    )
    search_rounds: int = setting(3, "rounds of the search (HalfCheetah: 2)", least=1)
    search_samples: int = setting(10, "actions drawn in a round (HalfCheetah: 20)", least=1)
    search_elites: int = setting(5, "best actions that refit the search and enter the next round")
    search_mean: float = setting(0.0, "mean of the first round, every dimension")
    search_std: float = setting(
        2.0, "standard deviation of the first round, every dimension", above=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.search == "softmax" or 2 <= self.search_elites <= self.search_samples,
            "search_elites must lie between 2 and search_samples",
        )


@dataclass(frozen=True)
class IqlSettings(ValueSettings):
    """IQL: expectile value, twin critic, advantage-weighted cloning of a Gaussian."""

    hidden: tuple[int, ...] = as_in(ValueSettings, "hidden", RELU_256)
    activation: Activation = as_in(ValueSettings, "activation", "relu")
    critic_hidden: tuple[int, ...] = setting(
        RELU_256, "widths of the critic and the value", least=1
    )
    critic_layer_norm: bool = setting(
        False, "LayerNorm after each hidden activation of critic and value"
    )
    expectile: float = setting(
        0.7,
        "expectile of Q that the value regresses",
        above=0,
        below=1,
        search=LinearRange(0.5, 0.95),
    )
    inverse_temperature: float = setting(
        3.0,
        "beta of the weights exp(beta A); 0 is pure cloning",
        least=0,
        search=LogRange(0.1, 10),
    )
    weight_cap: float = setting(100.0, "largest weight of a transition", above=0)
    advantage_normalise: Literal["none", "std"] = setting(
        "std",
        "divide advantages by their batch standard deviation, of each agent",
        search=Choice("none", "std"),
    )
    log_std_min: float = as_in(BcGaussianSettings, "log_std_min")
    log_std_max: float = as_in(BcGaussianSettings, "log_std_max")
    deviation: Literal["constant", "observation"] = as_in(BcGaussianSettings, "deviation")
    act_with: Literal["sample", "mean"] = as_in(BcGaussianSettings, "act_with", "mean")


@dataclass(frozen=True)
class IcqSettings(ValueSettings):
    """MA-ICQ: mixed values of recorded actions, cloning weighted by a softmax over the batch."""

    hidden: tuple[int, ...] = as_in(ValueSettings, "hidden", RELU_256)
    activation: Activation = as_in(ValueSettings, "activation", "relu")
    critic_hidden: tuple[int, ...] = as_in(ValueSettings, "critic_hidden", RELU_256)
    critic_layer_norm: bool = as_in(ValueSettings, "critic_layer_norm", False)
    temperature: float = setting(
        1.0,
        "temperature of the softmax of advantages that weighs cloning (published: 0.1, not "
        "normalised)",
        above=0,
        search=LogRange(0.1, 10),
    )
    target_temperature: float = setting(
        100.0,
        "temperature of the softmax of values that weighs TD targets (published: 1000, not "
        "normalised)",
        above=0,
        search=LogRange(10, 1000),
    )
    advantage_normalise: Literal["none", "std"] = setting(
        "std",
        "divide advantages, and the values that weigh targets, by their batch standard deviation",
    )
    baseline_samples: int = setting(
        4, "actions of the policy whose mean value an advantage is above", least=1
    )
    mixing_width: int = setting(32, "width of the mixer's hidden layer", least=1)
    gradient_clip: float = setting(
        20.0,
        "largest gradient norm of the policy, and of critic and mixer together; 0 is off",
        least=0,
    )
    log_std_min: float = as_in(BcGaussianSettings, "log_std_min")
    log_std_max: float = as_in(BcGaussianSettings, "log_std_max")
    deviation: Literal["constant", "observation"] = as_in(BcGaussianSettings, "deviation")
    act_with: Literal["sample", "mean"] = as_in(BcGaussianSettings, "act_with", "mean")


@dataclass(frozen=True)
class OmigaSettings(ValueSettings):
    """OMIGA: mixed values, regularised by every agent's own; weighted cloning."""

    hidden: tuple[int, ...] = as_in(ValueSettings, "hidden", RELU_256)
    activation: Activation = as_in(ValueSettings, "activation", "relu")
    critic_hidden: tuple[int, ...] = as_in(IqlSettings, "critic_hidden")
    critic_layer_norm: bool = as_in(IqlSettings, "critic_layer_norm")
    learning_rate: float = as_in(ValueSettings, "learning_rate", 5e-4)
    temperature: float = setting(
        10.0,
        "alpha of the weights exp(w (Q - V) / alpha); large is plain cloning",
        above=0,
        search=LogRange(1, 100),
    )
    density: Literal["squashed", "unbounded"] = setting(
        "squashed",
        "the policy: a Gaussian through tanh (as published), or one around tanh of the mean",
    )
    log_std_min: float = as_in(BcGaussianSettings, "log_std_min")
    log_std_max: float = as_in(BcGaussianSettings, "log_std_max")
    mixing_width: int = setting(64, "width of the mixer's hidden layer", least=1)
    gradient_clip: float = setting(
        1.0,
        "largest gradient norm of the policy, of the value, and of critic and mixer together; 0 "
        "is off",
        least=0,
    )


@dataclass(frozen=True)
class CfcqlSettings(CqlSettings):
    """CFCQL: CQL with a critic of the team, conservative about one agent at a time."""

    cql_weight: float = as_in(CqlSettings, "cql_weight", 2.5)
    target_noise: float = setting(
        0.05, "standard deviation of the noise on target actions", least=0
    )
    policy_every: int = as_in(RebracSettings, "policy_every", 5)
