"""The hyper-parameters of the generative algorithms beyond those in `algorithms.settings`.

As there: plain dataclasses without torch, defaults are the official sizes and step counts.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from algorithms.settings import (
    PREDICTION,
    Activation,
    CriticSettings,
    Prediction,
    Settings,
    require,
    setting,
)

MISH_256 = (256, 256, 256)  # the trunk of Diffusion-QL, EDP and DoF
GRADIENT_CLIP = "largest gradient norm of an agent's policy, and of its critic; 0 is off"
CANDIDATES = "actions drawn when acting, of which one is taken by its Q"


@dataclass(frozen=True)
class DiffusionQlSettings(CriticSettings):
    """Diffusion-QL: a diffusion policy, its average and a twin critic per agent."""

    hidden: tuple[int, ...] = setting(MISH_256, "widths of the hidden layers")
    activation: Activation = setting("mish", "activation of all hidden layers")
    lr_schedule: Literal["constant", "cosine"] = setting(
        "cosine", "course of the learning rate; cosine ends at zero after total_updates"
    )
    critic_hidden: tuple[int, ...] = setting(MISH_256, "widths of the critic")
    critic_layer_norm: bool = setting(False, "LayerNorm after each hidden activation of the critic")
    diffusion_steps: int = setting(5, "noise levels, in training and acting")
    schedule: Literal["vp", "linear"] = setting(
        "vp", "noise schedule: variance-preserving, or betas that rise linearly over the levels"
    )
    beta_min: float = setting(0.1, "smallest rate of the vp schedule, or first beta of linear")
    beta_max: float = setting(10.0, "largest rate of the vp schedule, or last beta of linear")
    prediction: Prediction = setting("noise", PREDICTION)
    ema_rate: float = setting(0.005, "step of the averaged policy in the TD target")
    ema_every: int = setting(5, "updates between two steps of the averaged policy")
    ema_start: int = setting(1000, "updates before the averaged policy leaves its initialisation")
    gradient_clip: float = setting(5.0, GRADIENT_CLIP)
    candidates: int = setting(1, f"{CANDIDATES}, with probability softmax(min target Q)")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.diffusion_steps > 0, "diffusion_steps must be positive")
        require(0 < self.beta_min <= self.beta_max, "need 0 < beta_min <= beta_max")
        require(
            self.schedule == "vp" or self.beta_max < 1, "the betas of schedule=linear lie below 1"
        )
        require(0 < self.ema_rate <= 1, "ema_rate must lie in (0, 1]")
        require(self.ema_every > 0, "ema_every must be positive")
        require(self.ema_start >= 0, "ema_start must not be negative")
        require(self.gradient_clip >= 0, "gradient_clip must not be negative")
        require(self.candidates > 0, "candidates must be positive")
        require(
            self.candidates == 1 or self.q_weight > 0,
            "candidates above 1 are chosen by Q, which q_weight = 0 does not train",
        )


@dataclass(frozen=True)
class EdpSettings(DiffusionQlSettings):
    """EDP: Diffusion-QL whose Q term uses a one-step estimate of the action."""

    lr_schedule: Literal["constant", "cosine"] = setting(
        "constant", "course of the learning rate; cosine ends at zero after total_updates"
    )
    q_weight: float = setting(2.0, "weight of the Q term (alpha); 0 is pure cloning")
    diffusion_steps: int = setting(100, "noise levels in training")
    schedule: Literal["vp", "linear"] = setting(
        "linear", "noise schedule: variance-preserving, or betas that rise linearly over the levels"
    )
    beta_min: float = setting(1e-4, "smallest rate of the vp schedule, or first beta of linear")
    beta_max: float = setting(2e-2, "largest rate of the vp schedule, or last beta of linear")
    ema_start: int = setting(0, "updates before the averaged policy leaves its initialisation")
    gradient_clip: float = setting(0.0, GRADIENT_CLIP)
    solver_steps: int = setting(15, "first-order DPM-Solver steps, in the TD target and acting")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.solver_steps > 0, "solver_steps must be positive")


@dataclass(frozen=True)
class DofSettings(DiffusionQlSettings):
    """DoF's policy variant: factorised diffusion, one network and twin critic per agent."""

    lr_schedule: Literal["constant", "cosine"] = setting(
        "constant", "course of the learning rate; cosine ends at zero after total_updates"
    )
    q_weight: float = setting(0.5, "weight of the Q term (eta); 0 is pure cloning")
    diffusion_steps: int = setting(10, "noise levels, in training and acting")
    gradient_clip: float = setting(0.5, GRADIENT_CLIP)
    critics: Literal["separate", "joint"] = setting(
        "separate", "TD per agent, or on the sum over agents"
    )
    q_gradient: bool = setting(True, "whether the Q term reaches the policy; not as shipped")
    backward: Literal["once", "per_agent"] = setting(
        "once", "as shipped, per_agent counts the cloning gradient of agent j (from 0) N - j times"
    )


@dataclass(frozen=True)
class FqlSettings(CriticSettings):
    """Flow Q-learning: a flow that clones, a one-step policy distilled from it, a twin critic."""

    flow_steps: int = setting(10, "Euler steps of the flow that teaches")
    distill_weight: float = setting(1.0, "weight of the distillation loss (alpha)")
    q_aggregate: Literal["mean", "min"] = setting("mean", "how the two heads form the TD target")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.flow_steps > 0, "flow_steps must be positive")
        require(self.distill_weight > 0, "distill_weight must be positive")


@dataclass(frozen=True)
class MacFlowSettings(FqlSettings):
    """MAC-Flow: a flow of the team, distilled into one-step agents, under a mixed critic."""

    discount: float = setting(0.995, "discount factor of the TD target")
    flow: Literal["joint", "factorised"] = setting(
        "joint", "the flow that teaches: one of the whole team (paper), or per agent (as shipped)"
    )
    mixing: Literal["mean", "sum"] = setting("mean", "how the agents' values form Q_tot")


@dataclass(frozen=True)
class MeanFlowQlSettings(CriticSettings):
    """MeanFlowQL: one residual network g(o, x, s), best of several actions."""

    anchor: ClassVar[str] = "start"  # where the shared derivative estimates put the state
    lr_schedule: Literal["constant", "cosine"] = setting(
        "cosine", "course of the learning rate; cosine ends at zero after total_updates"
    )
    imitation_weight: float = setting(10.0, "weight of the mean-flow loss (alpha)")
    bound_weight: float = setting(1.0, "weight of the penalty on actions outside [-1, 1]")
    derivative: Literal["finite_difference", "central_difference", "jvp", "zero"] = setting(
        "finite_difference", "how dg/ds in the target is obtained"
    )
    fd_step: float = setting(5e-3, "step of the difference (use 1e-2 for central_difference)")
    target_clip: float = setting(5.0, "clip the target to [-c, c]; 0 is off")
    adaptive_power: float = setting(0.2, "p of the loss weight 1 / (error + c)^p; 0 is off")
    adaptive_constant: float = setting(1e-4, "c of the loss weight")
    candidates: int = setting(5, f"{CANDIDATES}, the best; half as many in the TD target")
    gradient_clip: float = setting(1.0, GRADIENT_CLIP)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.imitation_weight > 0, "imitation_weight must be positive")
        require(self.bound_weight >= 0, "bound_weight must not be negative")
        if self.derivative in ("finite_difference", "central_difference"):
            require(
                1e-5 <= self.fd_step <= 0.5,
                f"fd_step {self.fd_step:g} is not usable in float32: the difference would be "
                "rounding noise; give a step between 1e-5 and 0.5",
            )
        require(self.target_clip >= 0, "target_clip must not be negative")
        require(self.adaptive_power >= 0, "adaptive_power must not be negative")
        require(self.candidates > 0, "candidates must be positive")
        require(self.gradient_clip >= 0, "gradient_clip must not be negative")


@dataclass(frozen=True)
class MadiffSettings(Settings):
    """MADiff: diffusion over the team's observations, and inverse dynamics."""

    hidden: tuple[int, ...] = setting((256, 256), "widths of the inverse dynamics")
    activation: Activation = setting("relu", "activation of the inverse dynamics")
    learning_rate: float = setting(2e-4, "Adam's learning rate")
    execution: Literal["centralised", "decentralised"] = setting(
        "centralised", "plan from all observations, or each agent for all from its own"
    )
    unet_width: int = setting(128, "channels of the U-Net's first resolution (64: small)")
    unet_multipliers: tuple[int, ...] = setting((1, 4, 8), "channels of each resolution, in widths")
    attention_heads: int = setting(4, "heads of the attention between agents")
    history: int = setting(0, "past steps in a plan (MuJoCo: 18)")
    horizon: int = setting(24, "steps of a plan from the present one on (MuJoCo: 10)")
    windows: int = setting(64, "windows per update, in place of the run's batch_size")
    diffusion_steps: int = setting(200, "noise levels in training")
    solver_steps: int = setting(15, "DDIM steps when acting, two evaluations each")
    beta_min: float = setting(0.1, "smallest rate of the variance-preserving schedule")
    beta_max: float = setting(20.0, "largest rate of the variance-preserving schedule")
    prediction: Prediction = setting("noise", PREDICTION)
    return_discount: float = setting(0.99, "discount of the return that plans are conditioned on")
    return_dropout: float = setting(0.25, "probability that training hides the return")
    target_return: float = setting(0.9, "return asked for when acting, in the data's largest")
    guidance: float = setting(1.2, "weight w of the return: unconditional + w (difference)")
    ema_rate: float = setting(0.005, "step of the averaged network that acts, after every update")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.unet_width > 0, "unet_width must be positive")
        require(
            len(self.unet_multipliers) > 0 and all(m > 0 for m in self.unet_multipliers),
            "unet_multipliers needs positive numbers",
        )
        require(
            self.attention_heads > 0 and self.unet_width % self.attention_heads == 0,
            "attention_heads must divide unet_width",
        )
        require(self.history >= 0, "history must not be negative")
        require(self.horizon > 1, "horizon needs the present and the next step: at least 2")
        halvings = 2 ** (len(self.unet_multipliers) - 1)
        require(
            (self.history + self.horizon) % halvings == 0,
            f"history + horizon must be a multiple of {halvings}: the U-Net halves it at every "
            "resolution",
        )
        for name in ("windows", "diffusion_steps", "solver_steps"):
            require(getattr(self, name) > 0, f"{name} must be positive")
        require(0 < self.beta_min <= self.beta_max, "need 0 < beta_min <= beta_max")
        require(0 <= self.return_discount <= 1, "return_discount must lie in [0, 1]")
        require(0 <= self.return_dropout <= 1, "return_dropout must lie in [0, 1]")
        require(self.guidance >= 0, "guidance must not be negative")
        require(0 < self.ema_rate <= 1, "ema_rate must lie in (0, 1]")
