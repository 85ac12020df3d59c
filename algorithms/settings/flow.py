"""Settings of the flow-matching and mean-flow algorithms: `flow-bc`, `om2p`, `fql` and others."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from algorithms.settings.common import (
    Q_WEIGHTS,
    CriticSettings,
    Schedule,
    Settings,
    ValueSettings,
    as_in,
    require,
    setting,
)
from algorithms.settings.conservative import IqlSettings
from algorithms.settings.search import Choice, LinearRange

CANDIDATES = "actions drawn when acting, of which one is taken by its Q"
GRADIENT_CLIP = "largest gradient norm of an agent's policy, and of its critic; 0 is off"


def usable_step(step: float) -> None:
    """Raise ValueError for a step of a difference that float32 does not resolve."""
    require(
        1e-5 <= step <= 0.5,
        f"fd_step {step:g} is not usable in float32: the difference would be rounding noise; give "
        "a step between 1e-5 and 0.5",
    )


@dataclass(frozen=True)
class FlowBcSettings(Settings):
    """Cloning by flow matching."""

    flow_steps: int = setting(10, "Euler steps from noise to action", least=1)


@dataclass(frozen=True)
class IfqlSettings(ValueSettings):
    """IFQL: a flow that clones, IQL's value and critic, the best of several samples acts."""

    flow_steps: int = as_in(FlowBcSettings, "flow_steps")
    expectile: float = as_in(IqlSettings, "expectile", 0.9)
    candidates: int = setting(32, f"{CANDIDATES}, the best by the smaller head", least=1)


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
        0.2, "scale of exp; whole-numbered order b of beta(b, b); unused by the other laws", above=0
    )
    order_times: bool = setting(True, "sort the times so that s <= e")
    equal_share: float = setting(
        0.25,
        "probability that e is set to s: plain flow matching",
        least=0,
        most=1,
        search=LinearRange(0, 0.75),
    )
    anchor: Literal["start", "end"] = setting("start", "time of the state: s, or e as released")
    sign: Literal["identity", "release"] = setting("identity", "sign of the derivative's term")
    output: Literal["noise_plus_u", "u_only"] = setting(
        "noise_plus_u", "action read from the network: noise + u(0, 1), or u alone as released"
    )
    adaptive_power: float = setting(
        0.0, "p of the adaptive loss weight 1 / (error + c)^p; 0 is off", least=0
    )
    adaptive_constant: float = setting(0.01, "c of the adaptive loss weight", least=0)
    delta_reduction: Literal["mean", "sum"] = setting("mean", "reduction over action dimensions")
    predicted_tangent: float = setting(
        0.0,
        "share of the predicted velocity u(x, s, s) in the tangent; 0 is action - noise",
        least=0,
        most=1,
    )
    boundary_weight: float = setting(0.0, "weight of an extra |u(x, s, s) - v|^2 term", least=0)
    alpha_flow: float = setting(
        0.0, "alpha-Flow's alpha in place of a derivative; 0 is off", least=0, most=1
    )
    target_clip: float = setting(0.0, "clip the target to [-c, c]; 0 is off", least=0)
    q_aggregate: Literal["mean", "min"] = setting(
        "mean", "how the two heads form the TD target", search=Choice("mean", "min")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        released = self.anchor == "end" and self.sign == "release"
        require(
            self.anchor == "end" or self.sign == "identity",
            "sign=release needs anchor=end: at the start the release's sign is the identity's",
        )
        if self.derivative in ("finite_difference", "central_difference") and not released:
            usable_step(self.fd_step)
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
class FqlSettings(CriticSettings):
    """Flow Q-learning: a flow that clones, a one-step policy distilled from it, a twin critic."""

    flow_steps: int = setting(10, "Euler steps of the flow that teaches", least=1)
    distill_weight: float = setting(1.0, "weight of the distillation loss (alpha)", above=0)
    q_aggregate: Literal["mean", "min"] = as_in(Om2pSettings, "q_aggregate")


@dataclass(frozen=True)
class MacFlowSettings(FqlSettings):
    """MAC-Flow: a flow of the team, distilled into one-step agents, under a mixed critic."""

    discount: float = as_in(FqlSettings, "discount", 0.995)
    flow: Literal["joint", "factorised"] = setting(
        "joint", "the flow that teaches: one of the whole team (paper), or per agent (as shipped)"
    )
    mixing: Literal["mean", "sum"] = setting("mean", "how the agents' values form Q_tot")


@dataclass(frozen=True)
class MeanFlowQlSettings(CriticSettings):
    """MeanFlowQL: one residual network g(o, x, s), best of several actions."""

    anchor: ClassVar[str] = "start"  # where the shared derivative estimates put the state
    lr_schedule: Schedule = as_in(CriticSettings, "lr_schedule", "cosine")
    imitation_weight: float = setting(10.0, "weight of the mean-flow loss (alpha)", above=0)
    bound_weight: float = setting(1.0, "weight of the penalty on actions outside [-1, 1]", least=0)
    derivative: Literal["finite_difference", "central_difference", "jvp", "zero"] = setting(
        "finite_difference", "how dg/ds in the target is obtained"
    )
    fd_step: float = as_in(Om2pSettings, "fd_step")
    target_clip: float = as_in(Om2pSettings, "target_clip", 5.0)
    adaptive_power: float = as_in(Om2pSettings, "adaptive_power", 0.2)
    adaptive_constant: float = as_in(Om2pSettings, "adaptive_constant", 1e-4)
    candidates: int = setting(5, f"{CANDIDATES}, the best; half as many in the TD target", least=1)
    gradient_clip: float = setting(1.0, GRADIENT_CLIP, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.derivative in ("finite_difference", "central_difference"):
            usable_step(self.fd_step)


@dataclass(frozen=True)
class ShortcutQlSettings(CriticSettings):
    """SORL: a shortcut model that acts in 1, 2, 4 ... steps, and a critic that sees how many."""

    learning_rate: float = as_in(CriticSettings, "learning_rate", 1e-4)
    q_weight: float = setting(
        100.0, "weight of the Q term; 0 is pure cloning", least=0, search=Q_WEIGHTS
    )
    flow_weight: float = setting(10.0, "weight of the flow-matching loss", above=0)
    consistency_weight: float = setting(10.0, "weight of the self-consistency loss", least=0)
    most_steps: int = setting(
        8, "steps of the finest discretisation, a power of two: the flow's", least=2
    )
    guided_steps: int = setting(
        8,
        "largest power of two of steps through which Q is followed, and in the TD target",
        least=1,
        most="most_steps",
    )
    acting_steps: int = setting(
        1, "steps from noise to action when acting, a power of two", least=1, most="most_steps"
    )
    candidates: int = setting(1, f"{CANDIDATES}, the best", least=1)
    gradient_clip: float = setting(1.0, GRADIENT_CLIP, least=0)
    q_aggregate: Literal["mean", "min"] = as_in(Om2pSettings, "q_aggregate")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("most_steps", "guided_steps", "acting_steps"):
            number = getattr(self, name)
            require(number & (number - 1) == 0, f"{name}={number} is not a power of two")
        require(
            self.candidates == 1 or self.q_weight > 0,
            "candidates above 1 are chosen by Q, which q_weight = 0 does not train",
        )
