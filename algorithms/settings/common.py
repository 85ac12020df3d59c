"""What settings are made of, and the settings that several families share."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from algorithms.settings.search import Choice, Dimension, LogRange

Activation = Literal["gelu", "silu", "mish", "relu", "tanh"]
Schedule = Literal["constant", "cosine"]
Bound = float | str | None  # a number, the name of another setting, or none
Q_WEIGHTS = LogRange(0.01, 100)  # official codes lie between: docs/tuning.md


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may take; of a tuple, each of its numbers."""

    above: Bound = None  # the number itself is not allowed
    least: Bound = None
    most: Bound = None
    below: Bound = None  # the number itself is not allowed

    def holds(self, value: Any, settings: Any) -> bool:
        """Whether ``value`` lies in the range, with bounds that name others from ``settings``."""
        above, least, most, below = (
            getattr(settings, bound) if isinstance(bound, str) else bound
            for bound in (self.above, self.least, self.most, self.below)
        )
        return (
            (above is None or value > above)
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (below is None or value < below)
        )

    def __str__(self) -> str:
        """Return what completes "it must ...", such as "lie in (0, 1]"."""
        low = None if self.above is None else f"({self.above}"
        low = low if self.least is None else f"[{self.least}"
        high = None if self.below is None else f"{self.below})"
        high = high if self.most is None else f"{self.most}]"
        if low and high:
            return f"lie in {low}, {high}"
        if low == "(0":
            return "be positive"
        if low == "[0":
            return "not be negative"
        words = {"above": "above", "least": "at least", "most": "at most", "below": "below"}
        stated = ((words[key], bound) for key, bound in vars(self).items() if bound is not None)
        return f"be {' and '.join(f'{word} {bound}' for word, bound in stated)}"


def setting(
    default: Any,
    text: str,
    *,
    above: Bound = None,
    least: Bound = None,
    most: Bound = None,
    below: Bound = None,
    search: Dimension | None = None,
    added: bool = False,
) -> Any:
    """Return a dataclass field: its default, the sentence that explains it, and its range.

    above, below: bounds that are not allowed themselves; least, most: bounds that are. A bound is a
    number or the name of another setting. Settings check their ranges when they are made.
    search: where tuning looks for a better value; None where it does not. added: whether it came
    after results were published: it is part of a configuration only where it is not the default, so
    that earlier cells keep their ids.
    """
    metadata = {"help": text, "range": Range(above, least, most, below), "search": search}
    return field(default=default, metadata={**metadata, "added": True} if added else metadata)


_SAME = object()


def as_in(kind: type, name: str, default: Any = _SAME, search: Any = _SAME) -> Any:
    """Return a copy of the field ``name`` of the settings ``kind``.

    default, search: what replaces the field's own; a search of None leaves it out of tuning.
    """
    (known,) = (one for one in fields(kind) if one.name == name)
    metadata = dict(known.metadata)
    if search is not _SAME:
        metadata["search"] = search
    return field(default=known.default if default is _SAME else default, metadata=metadata)


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Settings:
    """The settings of every algorithm."""

    hidden: tuple[int, ...] = setting((512, 512, 512, 512), "widths of the hidden layers", least=1)
    activation: Activation = setting("gelu", "activation of all hidden layers")
    learning_rate: float = setting(
        3e-4, "Adam's learning rate", above=0, search=LogRange(3e-4, 1e-2)
    )
    lr_schedule: Schedule = setting(
        "constant",
        "course of the learning rate; cosine ends at zero after total_updates",
        search=Choice("constant", "cosine"),
    )
    total_updates: int = setting(
        0, "updates of the whole run, for the cosine; set by the runner", least=0
    )
    standardise: bool = setting(True, "standardise observations with the dataset's statistics")

    def __post_init__(self) -> None:
        """Check every range; subclasses add what concerns several settings together.

        Raises ValueError with one sentence.
        """
        for one in fields(self):
            limits, value = one.metadata.get("range", Range()), getattr(self, one.name)
            if limits == Range():
                continue
            if isinstance(value, tuple):
                require(len(value) > 0, f"{one.name} needs at least one number")
            for number in value if isinstance(value, tuple) else (value,):
                require(
                    limits.holds(number, self),
                    f"{one.name}={number} is not allowed: it must {limits}",
                )


@dataclass(frozen=True)
class ValueSettings(Settings):
    """The settings that algorithms with a Q-function add."""

    discount: float = setting(
        0.99, "discount factor of the TD target", least=0, below=1, search=Choice(0.95, 0.99)
    )
    target_rate: float = setting(
        0.005,
        "step of the target critic towards the critic, each update",
        above=0,
        most=1,
        search=LogRange(0.002, 0.02),
    )
    critic_hidden: tuple[int, ...] = setting((512, 512, 512, 512), "widths of the critic", least=1)
    critic_layer_norm: bool = setting(True, "LayerNorm after each hidden activation of the critic")
    critic_norm_gain: bool = setting(
        False, "train a gain and an offset of that LayerNorm, as official codes do", added=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.critic_layer_norm or not self.critic_norm_gain,
            "critic_norm_gain needs critic_layer_norm: set both, or neither",
        )


@dataclass(frozen=True)
class CriticSettings(ValueSettings):
    """The settings of algorithms whose actor's loss is cloning plus a weighted Q term."""

    q_weight: float = setting(
        1.0,
        "weight of the Q term in the actor's loss; 0 is pure cloning",
        least=0,
        search=Q_WEIGHTS,
    )
    q_normalise: Literal["none", "mean_abs", "action_std"] = setting(
        "mean_abs",
        "what divides the Q term of each agent: its batch mean of |Q|, or the deviation of Q over "
        "actions of a state, which does not contain the state's value",
    )
