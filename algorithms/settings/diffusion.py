"""Settings of the diffusion and consistency policies: `dom2`, `diffusion-ql`, `edp` and others."""

from dataclasses import dataclass
from typing import Literal

from algorithms.settings.common import (
    Q_WEIGHTS,
    Activation,
    CriticSettings,
    Schedule,
    Settings,
    as_in,
    require,
    setting,
)
from algorithms.settings.search import LogRange

Prediction = Literal["noise", "velocity"]
MISH_256 = (256, 256, 256)  # the trunk of Diffusion-QL, EDP and DoF
EMA_RATES = LogRange(0.001, 0.05)


@dataclass(frozen=True)
class DiffusionBcSettings(Settings):
    """Cloning by denoising diffusion."""

    diffusion_steps: int = setting(5, "noise levels, and denoising steps when acting", least=1)
    beta_min: float = setting(
        0.1, "smallest rate of the variance-preserving schedule", above=0, most="beta_max"
    )
    beta_max: float = setting(10.0, "largest rate of the variance-preserving schedule")
    prediction: Prediction = setting(
        "noise",
        "what the network predicts and regresses: noise eps, or v = alpha eps - sigma action",
    )
    ema_rate: float = setting(
        0.005,
        "step of the averaged policy that acts, after every update",
        above=0,
        most=1,
        search=EMA_RATES,
    )


@dataclass(frozen=True)
class Dom2Settings(CriticSettings):
    """DOM2: a diffusion policy per agent, a fast solver, and a conservative twin critic."""

    solver_steps: int = setting(5, "first-order DPM-Solver steps, in training and acting", least=1)
    beta_min: float = as_in(DiffusionBcSettings, "beta_min")
    beta_max: float = as_in(DiffusionBcSettings, "beta_max")
    prediction: Prediction = as_in(DiffusionBcSettings, "prediction")
    cql_weight: float = setting(
        1.0, "weight of the conservative term (zeta)", least=0, search=LogRange(0.01, 10)
    )
    cql_samples: int = setting(10, "uniform actions in the conservative log-sum-exp", least=1)
    ema_rate: float = setting(
        0.005,
        "step of the averaged policy in the TD target, each update",
        above=0,
        most=1,
        search=EMA_RATES,
    )


@dataclass(frozen=True)
class AveragedPolicySettings(CriticSettings):
    """What Diffusion-QL and its kin share: sizes, the averaged policy, candidates."""

    hidden: tuple[int, ...] = as_in(CriticSettings, "hidden", MISH_256)
    activation: Activation = as_in(CriticSettings, "activation", "mish")
    lr_schedule: Schedule = as_in(CriticSettings, "lr_schedule", "cosine")
    critic_hidden: tuple[int, ...] = as_in(CriticSettings, "critic_hidden", MISH_256)
    critic_layer_norm: bool = as_in(CriticSettings, "critic_layer_norm", False)
    ema_rate: float = setting(
        0.005,
        "step of the averaged policy in the TD target",
        above=0,
        most=1,
        search=EMA_RATES,
    )
    ema_every: int = setting(5, "updates between two steps of the averaged policy", least=1)
    ema_start: int = setting(
        1000, "updates before the averaged policy leaves its initialisation", least=0
    )
    gradient_clip: float = setting(
        5.0, "largest gradient norm of an agent's policy, and of its critic; 0 is off", least=0
    )
    candidates: int = setting(
        1,
        "actions drawn when acting, of which one is taken by its Q, with probability "
        "softmax(min target Q)",
        least=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.candidates == 1 or self.q_weight > 0,
            "candidates above 1 are chosen by Q, which q_weight = 0 does not train",
        )


@dataclass(frozen=True)
class DiffusionQlSettings(AveragedPolicySettings):
    """Diffusion-QL: a diffusion policy, its average and a twin critic per agent."""

    diffusion_steps: int = setting(5, "noise levels, in training and acting", least=1)
    schedule: Literal["vp", "linear"] = setting(
        "vp", "noise schedule: variance-preserving, or betas that rise linearly over the levels"
    )
    beta_min: float = setting(
        0.1,
        "smallest rate of the vp schedule, or first beta of linear",
        above=0,
        most="beta_max",
    )
    beta_max: float = setting(10.0, "largest rate of the vp schedule, or last beta of linear")
    prediction: Prediction = as_in(DiffusionBcSettings, "prediction")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.schedule == "vp" or self.beta_max < 1,
            "the betas of schedule=linear must be below 1",
        )


@dataclass(frozen=True)
class EdpSettings(DiffusionQlSettings):
    """EDP: Diffusion-QL whose Q term uses a one-step estimate of the action."""

    lr_schedule: Schedule = as_in(DiffusionQlSettings, "lr_schedule", "constant")
    q_weight: float = setting(
        2.0, "weight of the Q term (alpha); 0 is pure cloning", least=0, search=Q_WEIGHTS
    )
    diffusion_steps: int = setting(100, "noise levels in training", least=1)
    schedule: Literal["vp", "linear"] = as_in(DiffusionQlSettings, "schedule", "linear")
    beta_min: float = as_in(DiffusionQlSettings, "beta_min", 1e-4)
    beta_max: float = as_in(DiffusionQlSettings, "beta_max", 2e-2)
    ema_start: int = as_in(DiffusionQlSettings, "ema_start", 0)
    gradient_clip: float = as_in(DiffusionQlSettings, "gradient_clip", 0.0)
    solver_steps: int = setting(
        15, "first-order DPM-Solver steps, in the TD target and acting", least=1
    )


@dataclass(frozen=True)
class DofSettings(DiffusionQlSettings):
    """DoF's policy variant: factorised diffusion, one network and twin critic per agent."""

    lr_schedule: Schedule = as_in(DiffusionQlSettings, "lr_schedule", "constant")
    q_weight: float = setting(
        0.5, "weight of the Q term (eta); 0 is pure cloning", least=0, search=Q_WEIGHTS
    )
    diffusion_steps: int = as_in(DiffusionQlSettings, "diffusion_steps", 10)
    gradient_clip: float = as_in(DiffusionQlSettings, "gradient_clip", 0.5)
    critics: Literal["separate", "joint"] = setting(
        "separate", "TD per agent, or on the sum over agents"
    )
    q_gradient: bool = setting(True, "whether the Q term reaches the policy; not as shipped")
    backward: Literal["once", "per_agent"] = setting(
        "once", "as shipped, per_agent counts the cloning gradient of agent j (from 0) N - j times"
    )


@dataclass(frozen=True)
class ConsistencyQlSettings(AveragedPolicySettings):
    """A consistency policy, its average and a twin critic per agent."""

    cloning: Literal["consistency", "reconstruction"] = setting(
        "consistency",
        "what the policy regresses: the teacher's output at the next lower noise level, or the "
        "recorded action (as CPQL's code runs)",
    )
    teacher: Literal["average", "policy"] = setting(
        "average",
        "what gives the consistency target: the averaged policy, or the policy itself, which does "
        "not lag behind in short runs",
    )
    noise_levels: int = setting(
        40, "noise levels in training, from sigma_max to sigma_min", least=2
    )
    consistency_steps: int = setting(
        1, "evaluations from noise to action, in training and acting", least=1
    )
    sigma_min: float = setting(0.002, "smallest standard deviation of the noise", above=0, below=2)
    sigma_max: float = setting(80.0, "largest standard deviation of the noise", above=2)
    sigma_data: float = setting(0.5, "standard deviation that actions are taken to have", above=0)
    rho: float = setting(7.0, "how densely the levels lie at small noise", above=0)
