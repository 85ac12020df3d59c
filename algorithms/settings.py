"""The hyper-parameters of every algorithm, side by side.

Plain dataclasses without torch, so that planning and ``--help`` stay fast. A field's ``help`` is
what users read; defaults are the official sizes and step counts where a source states them.
Presets override them, the same way for every dataset.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Activation = Literal["gelu", "silu", "mish", "relu", "tanh"]


def setting(default: Any, text: str) -> Any:
    """Return a dataclass field with a default and the sentence that explains it."""
    return field(default=default, metadata={"help": text})


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Settings:
    """What every algorithm has."""

    hidden: tuple[int, ...] = setting((512, 512, 512, 512), "widths of the hidden layers")
    activation: Activation = setting("gelu", "activation of all hidden layers")
    learning_rate: float = setting(3e-4, "Adam's learning rate")
    lr_schedule: Literal["constant", "cosine"] = setting(
        "constant", "course of the learning rate; cosine ends at zero after total_updates"
    )
    total_updates: int = setting(0, "updates of the whole run, for the cosine; set by the runner")
    standardise: bool = setting(True, "standardise observations with the dataset's statistics")

    def __post_init__(self) -> None:
        require(len(self.hidden) > 0, "hidden needs at least one width")
        require(all(width > 0 for width in self.hidden), "hidden widths must be positive")
        require(self.learning_rate > 0, "learning_rate must be positive")
        require(
            self.lr_schedule == "constant" or self.total_updates >= 0,
            "total_updates must not be negative",
        )


@dataclass(frozen=True)
class BcSettings(Settings):
    """Deterministic cloning."""


@dataclass(frozen=True)
class FlowBcSettings(Settings):
    """Cloning by flow matching."""

    flow_steps: int = setting(10, "Euler steps from noise to action")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.flow_steps > 0, "flow_steps must be positive")


Prediction = Literal["noise", "velocity"]
PREDICTION = "what the network predicts and regresses: noise eps, or v = alpha eps - sigma action"


@dataclass(frozen=True)
class DiffusionBcSettings(Settings):
    """Cloning by denoising diffusion."""

    diffusion_steps: int = setting(5, "noise levels, and denoising steps when acting")
    beta_min: float = setting(0.1, "smallest rate of the variance-preserving schedule")
    beta_max: float = setting(10.0, "largest rate of the variance-preserving schedule")
    prediction: Prediction = setting("noise", PREDICTION)
    ema_rate: float = setting(0.005, "step of the averaged policy that acts, after every update")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.diffusion_steps > 0, "diffusion_steps must be positive")
        require(0 < self.beta_min <= self.beta_max, "need 0 < beta_min <= beta_max")
        require(0 < self.ema_rate <= 1, "ema_rate must lie in (0, 1]")


@dataclass(frozen=True)
class ValueSettings(Settings):
    """What algorithms with a Q-function add."""

    discount: float = setting(0.99, "discount factor of the TD target")
    target_rate: float = setting(0.005, "step of the target critic towards the critic, each update")
    critic_hidden: tuple[int, ...] = setting((512, 512, 512, 512), "widths of the critic")
    critic_layer_norm: bool = setting(True, "LayerNorm after each hidden activation of the critic")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.discount < 1, "discount must lie in [0, 1)")
        require(
            len(self.critic_hidden) > 0 and all(width > 0 for width in self.critic_hidden),
            "critic_hidden needs positive widths",
        )
        require(0 < self.target_rate <= 1, "target_rate must lie in (0, 1]")


@dataclass(frozen=True)
class CriticSettings(ValueSettings):
    """What algorithms add whose actor's loss is cloning plus a weighted Q term."""

    q_weight: float = setting(1.0, "weight of the Q term in the actor's loss; 0 is pure cloning")
    q_normalise: Literal["none", "mean_abs"] = setting(
        "mean_abs", "divide the Q term by the batch mean of |Q| of each agent"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.q_weight >= 0, "q_weight must not be negative")


@dataclass(frozen=True)
class Om2pSettings(CriticSettings):
    """OM2P: one mean-flow network and a twin critic per agent."""

    derivative: Literal[
        "finite_difference", "central_difference", "jvp", "zero", "batch_jacobian"
    ] = setting("finite_difference", "how du/ds in the mean-flow target is obtained")
    fd_step: float = setting(5e-3, "step of the difference (use 1e-2 for central_difference)")
    time_law: Literal["uniform", "exp", "quadratic", "beta", "logit_normal"] = setting(
        "uniform", "law of the two times s and e before sorting"
    )
    time_law_parameter: float = setting(
        0.2, "scale of exp; whole-numbered order b of beta(b, b); unused by the other laws"
    )
    order_times: bool = setting(True, "sort the times so that s <= e")
    equal_share: float = setting(0.25, "probability that e is set to s: plain flow matching")
    anchor: Literal["start", "end"] = setting("start", "time of the state: s, or e as released")
    sign: Literal["identity", "release"] = setting("identity", "sign of the derivative's term")
    output: Literal["noise_plus_u", "u_only"] = setting(
        "noise_plus_u", "action read from the network: noise + u(0, 1), or u alone as released"
    )
    adaptive_power: float = setting(
        0.0, "p of the adaptive loss weight 1 / (error + c)^p; 0 is off"
    )
    adaptive_constant: float = setting(0.01, "c of the adaptive loss weight")
    delta_reduction: Literal["mean", "sum"] = setting("mean", "reduction over action dimensions")
    predicted_tangent: float = setting(
        0.0, "share of the predicted velocity u(x, s, s) in the tangent; 0 is action - noise"
    )
    boundary_weight: float = setting(0.0, "weight of an extra |u(x, s, s) - v|^2 term")
    alpha_flow: float = setting(0.0, "alpha-Flow's alpha in place of a derivative; 0 is off")
    target_clip: float = setting(0.0, "clip the target to [-c, c]; 0 is off")
    q_aggregate: Literal["mean", "min"] = setting("mean", "how the two heads form the TD target")

    def __post_init__(self) -> None:
        super().__post_init__()
        released = self.anchor == "end" and self.sign == "release"
        require(
            self.anchor == "end" or self.sign == "identity",
            "sign=release needs anchor=end: at the start the release's sign is the identity's",
        )
        if self.derivative in ("finite_difference", "central_difference") and not released:
            require(
                1e-5 <= self.fd_step <= 0.5,
                f"fd_step {self.fd_step:g} is not usable in float32: the difference would be "
                "rounding noise; give a step between 1e-5 and 0.5",
            )
        require(0 <= self.equal_share <= 1, "equal_share must lie in [0, 1]")
        require(0 <= self.predicted_tangent <= 1, "predicted_tangent must lie in [0, 1]")
        require(0 <= self.alpha_flow <= 1, "alpha_flow must lie in [0, 1]")
        require(self.time_law_parameter > 0, "time_law_parameter must be positive")
        require(
            self.time_law != "beta" or self.time_law_parameter == int(self.time_law_parameter),
            "time_law_parameter of the beta law must be a whole number",
        )
        needs_start = self.alpha_flow > 0 or self.derivative == "central_difference"
        require(
            not needs_start or (self.anchor == "start" and self.order_times),
            "alpha_flow and central_difference need anchor=start and order_times=true",
        )


@dataclass(frozen=True)
class Dom2Settings(CriticSettings):
    """DOM2: a diffusion policy per agent, a fast solver, and a conservative twin critic."""

    solver_steps: int = setting(5, "first-order DPM-Solver steps, in training and acting")
    beta_min: float = setting(0.1, "smallest rate of the variance-preserving schedule")
    beta_max: float = setting(10.0, "largest rate of the variance-preserving schedule")
    prediction: Prediction = setting("noise", PREDICTION)
    cql_weight: float = setting(1.0, "weight of the conservative term (zeta)")
    cql_samples: int = setting(10, "uniform actions in the conservative log-sum-exp")
    ema_rate: float = setting(0.005, "step of the averaged policy in the TD target, each update")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.solver_steps > 0, "solver_steps must be positive")
        require(self.cql_samples > 0, "cql_samples must be positive")
        require(self.cql_weight >= 0, "cql_weight must not be negative")
        require(0 < self.beta_min <= self.beta_max, "need 0 < beta_min <= beta_max")
        require(0 < self.ema_rate <= 1, "ema_rate must lie in (0, 1]")


# The conservative family and Gaussian cloning. Sizes are those of OMAR's HalfCheetah set, whose
# batch and order of updates are the `paper` preset's; its MPE set (64 wide, rate .01, batch 1024)
# belongs to runs of 2,000 updates.
SMALL_CRITIC = (256, 256)
GRADIENT_CLIP = "largest gradient norm of an agent's actor, and of its critic; 0 is off"


@dataclass(frozen=True)
class BcGaussianSettings(Settings):
    """Cloning by the likelihood of a Gaussian."""

    log_std_min: float = setting(-5.0, "smallest logarithm of a standard deviation")
    log_std_max: float = setting(2.0, "largest logarithm of a standard deviation")
    act_with: Literal["sample", "mean"] = setting("sample", "what of the Gaussian acts")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.log_std_min < self.log_std_max, "need log_std_min < log_std_max")


@dataclass(frozen=True)
class Td3BcSettings(CriticSettings):
    """TD3+BC: deterministic actor, twin critic, cloning in the actor's loss."""

    hidden: tuple[int, ...] = setting(SMALL_CRITIC, "widths of the hidden layers")
    activation: Activation = setting("relu", "activation of all hidden layers")
    critic_hidden: tuple[int, ...] = setting(SMALL_CRITIC, "widths of the critic")
    critic_layer_norm: bool = setting(False, "LayerNorm after each hidden activation of the critic")
    q_weight: float = setting(2.5, "weight lambda of the Q term; 0 is pure cloning")
    gradient_clip: float = setting(0.0, GRADIENT_CLIP)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gradient_clip >= 0, "gradient_clip must not be negative")


@dataclass(frozen=True)
class CqlSettings(ValueSettings):
    """MA-CQL: deterministic actor, conservative twin critic."""

    hidden: tuple[int, ...] = setting(SMALL_CRITIC, "widths of the hidden layers")
    activation: Activation = setting("relu", "activation of all hidden layers")
    critic_hidden: tuple[int, ...] = setting(SMALL_CRITIC, "widths of the critic")
    critic_layer_norm: bool = setting(False, "LayerNorm after each hidden activation of the critic")
    gradient_clip: float = setting(0.5, GRADIENT_CLIP)
    action_penalty: float = setting(1e-3, "weight of the mean squared action in the actor's loss")
    cql_weight: float = setting(1.0, "weight of the conservative term (cql_alpha)")
    cql_samples: int = setting(10, "actions of each law in the conservative log-sum-exp")
    cql_temperature: float = setting(1.0, "temperature of the conservative log-sum-exp")
    cql_laws: Literal["uniform", "uniform_and_policy"] = setting(
        "uniform",
        "laws of the log-sum-exp's actions; the policy's are noisy actions at o and at o' "
        "(OMAR on HalfCheetah)",
    )
    cql_noise: float = setting(0.2, "standard deviation of the policy's noisy actions")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gradient_clip >= 0, "gradient_clip must not be negative")
        require(self.action_penalty >= 0, "action_penalty must not be negative")
        require(self.cql_weight >= 0, "cql_weight must not be negative")
        require(self.cql_samples > 0, "cql_samples must be positive")
        require(self.cql_temperature > 0, "cql_temperature must be positive")
        require(self.cql_noise > 0, "cql_noise must be positive")


@dataclass(frozen=True)
class OmarSettings(CqlSettings):
    """OMAR: MA-CQL whose actor also imitates the best action that a search finds."""

    omar_weight: float = setting(
        0.9, "share c of the searched action in the actor's loss; 1 - c is the Q term's (omar_coe)"
    )
    search: Literal["softmax", "elites"] = setting(
        "softmax", "how a round refits the search: softmax of Q (MPE) or elites (HalfCheetah)"
    )
    search_rounds: int = setting(3, "rounds of the search (HalfCheetah: 2)")
    search_samples: int = setting(10, "actions drawn in a round (HalfCheetah: 20)")
    search_elites: int = setting(5, "best actions that refit the search and enter the next round")
    search_mean: float = setting(0.0, "mean of the first round, every dimension")
    search_std: float = setting(2.0, "standard deviation of the first round, every dimension")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.omar_weight <= 1, "omar_weight must lie in [0, 1]")
        require(self.search_rounds > 0, "search_rounds must be positive")
        require(self.search_samples > 0, "search_samples must be positive")
        require(
            self.search == "softmax" or 2 <= self.search_elites <= self.search_samples,
            "search_elites must lie between 2 and search_samples",
        )
        require(self.search_std > 0, "search_std must be positive")


@dataclass(frozen=True)
class IqlSettings(ValueSettings):
    """IQL: expectile value, twin critic, advantage-weighted cloning of a Gaussian."""

    hidden: tuple[int, ...] = setting(SMALL_CRITIC, "widths of the hidden layers")
    activation: Activation = setting("relu", "activation of all hidden layers")
    critic_hidden: tuple[int, ...] = setting(SMALL_CRITIC, "widths of the critic and the value")
    critic_layer_norm: bool = setting(
        False, "LayerNorm after each hidden activation of critic and value"
    )
    expectile: float = setting(0.7, "expectile of Q that the value regresses")
    inverse_temperature: float = setting(3.0, "beta of the weights exp(beta A); 0 is pure cloning")
    weight_cap: float = setting(100.0, "largest weight of a transition")
    advantage_normalise: Literal["none", "std"] = setting(
        "std", "divide advantages by their batch standard deviation, of each agent"
    )
    log_std_min: float = setting(-5.0, "smallest logarithm of a standard deviation")
    log_std_max: float = setting(2.0, "largest logarithm of a standard deviation")
    act_with: Literal["sample", "mean"] = setting("mean", "what of the Gaussian acts")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.expectile < 1, "expectile must lie between 0 and 1")
        require(self.inverse_temperature >= 0, "inverse_temperature must not be negative")
        require(self.weight_cap > 0, "weight_cap must be positive")
        require(self.log_std_min < self.log_std_max, "need log_std_min < log_std_max")
