"""Settings of the algorithms that plan trajectories: MADiff and CoFlow."""

from dataclasses import dataclass
from typing import Literal

from algorithms.settings.common import Activation, Settings, as_in, require, setting
from algorithms.settings.diffusion import EMA_RATES, DiffusionBcSettings, Prediction
from algorithms.settings.search import LinearRange


@dataclass(frozen=True)
class PlannerSettings(Settings):
    """Settings of a U-Net that plans the team's observations, and of inverse dynamics."""

    hidden: tuple[int, ...] = setting((256, 256), "widths of the inverse dynamics", least=1)
    activation: Activation = setting("relu", "activation of the inverse dynamics")
    learning_rate: float = as_in(Settings, "learning_rate", 2e-4)
    execution: Literal["centralised", "decentralised"] = setting(
        "centralised", "plan from all observations, or every agent plans for all from its own"
    )
    unet_width: int = setting(128, "channels of the U-Net's first resolution (64: small)", least=1)
    unet_multipliers: tuple[int, ...] = setting(
        (1, 4, 8), "channels of each resolution, in widths", least=1
    )
    attention_heads: int = setting(4, "heads of the attention between agents", least=1)
    history: int = setting(0, "past steps in a plan (MuJoCo: 18)", least=0)
    horizon: int = setting(
        24, "steps of a plan from the present one on (MuJoCo: 10)", least=2
    )  # the present and the next step
    windows: int = setting(64, "windows per update, in place of the run's batch_size", least=1)
    return_discount: float = setting(
        0.99, "discount of the return that plans are conditioned on", least=0, most=1
    )
    target_return: float = setting(
        0.9,
        "return asked for when acting, as a share of the data's largest",
        search=LinearRange(0.6, 1),
    )
    guidance: float = setting(
        1.2,
        "weight w of the return: unconditional + w (difference)",
        least=0,
        search=LinearRange(1, 2),
    )
    ema_rate: float = setting(
        0.005,
        "step of the averaged network that acts, after every update",
        above=0,
        most=1,
        search=EMA_RATES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.unet_width % self.attention_heads == 0, "attention_heads must divide unet_width"
        )
        halvings = 2 ** (len(self.unet_multipliers) - 1)
        require(
            (self.history + self.horizon) % halvings == 0,
            f"history + horizon must be a multiple of {halvings}: the U-Net halves it at every "
            "resolution",
        )


@dataclass(frozen=True)
class MadiffSettings(PlannerSettings):
    """MADiff: diffusion over the team's observations."""

    diffusion_steps: int = setting(200, "noise levels in training", least=1)
    solver_steps: int = setting(15, "DDIM steps when acting, two evaluations each", least=1)
    beta_min: float = as_in(DiffusionBcSettings, "beta_min")
    beta_max: float = as_in(DiffusionBcSettings, "beta_max", 20.0)
    prediction: Prediction = as_in(DiffusionBcSettings, "prediction")
    return_dropout: float = setting(
        0.25, "probability that training hides the return", least=0, most=1
    )


@dataclass(frozen=True)
class CoflowSettings(PlannerSettings):
    """CoFlow: few steps of a velocity over the team's observations."""

    guidance: float = setting(
        1.2,
        "weight w of the return, in training and acting: unconditional + w (difference)",
        least=0,
    )
    time_bins: int = setting(5, "bins of the noise level, which is all the U-Net reads", least=1)
    equal_share: float = setting(
        0.5,
        "probability that both times are equal: plain flow matching",
        least=0,
        most=1,
        search=LinearRange(0, 0.75),
    )
    flow_steps: int = setting(
        5, "Euler steps when acting, two evaluations each (the paper: 1 to 3)", least=1
    )
