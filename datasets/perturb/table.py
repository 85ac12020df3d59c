"""The literal table of perturbations: what each does, its levels, and where it comes from.

Torch-free. Level 0 is the undisturbed team. The values of the levels belong to the protocol:
whoever changes one raises ``VERSION``, and recorded rows of another version are played again.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets.errors import DatasetError, unknown

if TYPE_CHECKING:
    from datasets.perturb.scene import Scene
    from datasets.protocol import Perturbation

VERSION = 1  # of the levels and of what a perturbation does

Levels = Mapping[str, tuple[float, ...]]  # by the beginning of a task's id; "" is any task
Maker = Callable[[float, "Scene"], "Perturbation"]

NEEDS = ("", "team", "critic", "partner")


@dataclass(frozen=True)
class Family:
    """One way to disturb a team.

    target: a class, or "module:Class", made of a level's value and a Scene; its ``wrap`` is that of
    :class:`datasets.protocol.Perturbation`. cost: evaluations of the policy per step, where a
    usual step has one.
    """

    name: str  # the family, and a variant behind a slash
    target: "str | Maker"
    levels: Levels  # values of levels 1, 2, ...; a task without an entry has no such perturbation
    unit: str
    summary: str
    source: str
    neutral: float = 0.0  # the value that changes nothing, shown at level 0
    needs: str = ""  # team: a differentiable one; critic: one with a critic too; partner
    cost: float = 1.0
    plugin: str | None = None  # sha256 of the file that registered it, None for our own

    @property
    def version(self) -> str:
        """What recorded rows depend on besides the team: our protocol, or a plug-in's source."""
        return str(VERSION) if self.plugin is None else f"{VERSION}+{self.plugin[:12]}"

    @property
    def family(self) -> str:
        """The family's name without the variant."""
        return self.name.partition("/")[0]

    @property
    def variant(self) -> str:
        """The variant, empty where a family has but one."""
        return self.name.partition("/")[2]

    def values(self, task: str) -> tuple[float, ...]:
        """Return the values of levels 0, 1, ... on a task; empty where it does not apply."""
        fitting = [start for start in self.levels if task.startswith(start)]
        if not fitting:
            return ()
        return (self.neutral, *self.levels[max(fitting, key=len)])

    def make(self, value: float, scene: "Scene") -> "Perturbation":
        """Return the perturbation of a level's value."""
        target: Any = self.target
        if isinstance(target, str):
            module, _, name = target.partition(":")
            target = getattr(importlib.import_module(module), name)
        made: Perturbation = target(value, scene)
        return made


_SEEN, _DONE, _WORLD, _ATTACK = (
    f"datasets.perturb.{name}:" for name in ("observation", "action", "dynamics", "attack")
)
_OURS = "no standard was found; levels piloted here"
_DEVIATIONS = "standard deviations"
_PACKER = "Packer et al. 2018, sunblaze-ucb/rl-generalization 8d06df3"
_RRLS = "RRLS, SuReLI/RRLS 091a86d"
_SA = "SA-MDP, huanzhang12/SA_PPO; our levels"
_BOUND = (0.05, 0.15, 0.3, 0.6)
ALL = 10**6  # dimensions: at most half of an agent's are masked


def _grid(low: float, high: float) -> tuple[float, ...]:
    """Return ten values from low to high, as RRLS has them on each axis."""
    return tuple(round(low + (high - low) * at / 9, 4) for at in range(10))


_ROWS = (
    Family(
        "observation-noise", f"{_SEEN}Noise", {"": (0.1, 0.5, 1.0, 2.0)}, _DEVIATIONS,
        "Gaussian noise on standardised observations", "DMBP, zhyang2226/DMBP (.05 to .15 there)",
    ),
    Family(
        "observation-dropout", f"{_SEEN}Dropout", {"": (0.1, 0.3, 0.6, 0.9)}, "probability",
        "an agent's whole observation is the data's mean, by chance in every step", _OURS,
    ),
    Family(
        "observation-mask", f"{_SEEN}Mask", {"": (1, 2, 4, ALL)}, "dimensions",
        "random dimensions are the data's mean through an episode, at most half of them",
        "DMBP, zhyang2226/DMBP",
    ),
    Family(
        "observation-delay", f"{_SEEN}Delay", {"": (1, 2, 3, 4)}, "steps",
        "agents observe the past", _OURS,
    ),
    Family(
        "view-range", f"{_SEEN}ViewRange", {"mpe/": (2.0, 1.5, 1.0, 0.5)}, "distance",
        "bodies farther away are the data's mean", _OURS, neutral=float("inf"),
    ),
    Family(
        "action-noise", f"{_DONE}Noise", {"": (0.2, 0.8, 1.5, 3.0)}, "action units",
        "Gaussian noise on actions", "RRLS has action noise too; our levels",
    ),
    Family(
        "action-delay", f"{_DONE}Delay", {"": (1, 2, 3, 4)}, "steps",
        "actions arrive late", _OURS,
    ),
    Family(
        "dynamics/speed", f"{_WORLD}Speed", {"mpe/": (0.9, 0.6, 0.3, 0.1)}, "factor",
        "top speed and acceleration of the team are multiplied",
        "DOM2, arXiv 2307.01472 (speeds drawn from a range there)", neutral=1.0,
    ),
    Family(
        "dynamics/mass", f"{_WORLD}Mass", {"mpe/": (1.1, 1.5, 3.0, 8.0)}, "factor",
        "the team is heavier: all forces do less", _OURS, neutral=1.0,
    ),
    Family(
        "dynamics/damping", f"{_WORLD}Damping", {"mpe/": (0.3, 0.5, 0.7, 0.9)},
        "share of velocity lost in a step", "the ground brakes the team more", _OURS, neutral=0.25,
    ),
    Family(
        "dynamics/ranges", f"{_WORLD}Packer", {"mamujoco/": (1, 2)}, "1 Random, 2 Extreme",
        "density of the torso, friction and power are drawn for every episode", _PACKER,
    ),
    Family(
        "dynamics/friction", f"{_WORLD}Friction",
        {
            "mamujoco/halfcheetah": _grid(0.1, 4.0), "mamujoco/hopper": _grid(0.1, 3.0),
            "mamujoco/walker2d": _grid(0.1, 4.0),
        },
        "coefficient", "sliding friction, ten values", _RRLS,
    ),
    Family(
        "dynamics/torso-mass", f"{_WORLD}TorsoMass",
        {
            "mamujoco/halfcheetah": _grid(0.1, 7.0), "mamujoco/hopper": _grid(0.1, 3.0),
            "mamujoco/walker2d": _grid(0.1, 5.0), "mamujoco/ant": _grid(0.1, 3.0),
        },
        "kg", "the torso's mass, ten values", _RRLS,
    ),
    Family(
        "team/random", f"{_DONE}RandomAgent", {"": (1,)}, "agents",
        "one agent acts at random", "MCGD (ICML 2025) disables one; a random one is ours",
    ),
    Family(
        "team/silent", f"{_DONE}SilentAgent", {"": (1,)}, "agents",
        "one agent's actions are zero", "MCGD (ICML 2025)",
    ),
    Family(
        "team/cross-play", f"{_DONE}CrossPlay", {"": (1,)}, "agents",
        "one agent is that of another training seed", "cross-play; ours", needs="partner", cost=2,
    ),
    Family(
        "attack-action", f"{_ATTACK}ActionAttack", {"": _BOUND}, _DEVIATIONS,
        "the change of observations that changes actions most, found by PGD", _SA,
        needs="team", cost=100,
    ),
    Family(
        "attack-action/fgsm", f"{_ATTACK}FastActionAttack", {"": _BOUND}, _DEVIATIONS,
        "the same by one step of the gradient", _SA, needs="team", cost=14,
    ),
    Family(
        "attack-action/noise", f"{_ATTACK}NoiseOfTheSameSize", {"": _BOUND}, _DEVIATIONS,
        "uniform noise within the attack's bound", _SA, 
    ),
    Family(
        "attack-value", f"{_ATTACK}ValueAttack", {"": _BOUND}, _DEVIATIONS,
        "the change of observations whose actions the cell's own critic values least, by PGD", _SA,
        needs="critic", cost=120,
    ),
)  # fmt: skip

TABLE: dict[str, Family] = {row.name: row for row in _ROWS}


def family(name: str) -> Family:
    """Return a perturbation; DatasetError with near names where there is none."""
    if name not in TABLE:
        raise unknown("perturbation", name, TABLE)
    return TABLE[name]


def chosen(names: str) -> list[Family]:
    """Return the perturbations that a comma list names, or ``all``.

    A family's name alone stands for all its variants. DatasetError for an unknown one.
    """
    named: dict[str, Family] = {}
    for name in (part.strip() for part in names.split(",")):
        same = {key: row for key, row in TABLE.items() if name in ("all", row.family)}
        named |= same or {name: family(name)}
    return [row for key, row in TABLE.items() if key in named]


def register(
    name: str,
    target: "str | Maker",
    *,
    levels: "tuple[float, ...] | Levels",
    unit: str,
    summary: str,
    source: str = "plug-in",
    neutral: float = 0.0,
    needs: str = "",
    cost: float = 1.0,
) -> None:
    """Add a perturbation; the last lines of a plug-in file do this.

    target: a class, or "module:Class", made of a level's value and a Scene, whose ``wrap(env,
    seed)`` returns the disturbed environment. levels: the values of levels 1, 2 ..., the same on
    all tasks or by the beginning of a task's id. needs: what of a Scene must be there: "", "team",
    "critic" or "partner". Raises DatasetError for a name that is taken or malformed, and for levels
    or needs that cannot be.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)?", name, re.ASCII):
        raise DatasetError(
            f"'{name}' cannot be a perturbation's name; use small letters, digits, single hyphens, "
            "and at most one slash before a variant."
        )
    if name in TABLE or name == "all":
        raise DatasetError(f"the name '{name}' is taken; register under another one.")
    by_task = levels if isinstance(levels, Mapping) else {"": levels}
    if not by_task or not all(by_task.values()):
        raise DatasetError(f"the perturbation {name} has no levels; give one value at least.")
    if needs not in NEEDS:
        listed = ", ".join(repr(one) for one in NEEDS)
        raise DatasetError(f"the perturbation {name} needs '{needs}'; it can need {listed}.")
    TABLE[name] = Family(name, target, dict(by_task), unit, summary, source, neutral, needs, cost)
