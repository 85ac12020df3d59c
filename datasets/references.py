"""The table of reference returns: what a random team and our expert data reach.

The numbers are those that `python -m bench data references TASK` prints (`measurement.py`). A
variant of a task (other rules, another prey) that is not in the table has returns but no score.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A reference return with its standard error, the episodes behind it, and its source."""

    mean: float
    standard_error: float
    episodes: int
    source: str


UNIFORM = "uniform random actions in this environment"
EXPERT_DATA = "mean return of our recorded {}/expert, data seed 0"

Variant = tuple[str, str, str | None]  # task, rules, prey

# (task, rules, prey) -> (random, expert); None: not measured. The prey is named by the first 12
# digits of its file's sha256, so that another prey never inherits these numbers.
REFERENCES: dict[Variant, tuple[Reference | None, Reference | None]] = {
    ("mpe/spread", "omar", None): (
        Reference(160.113, 0.135, 200_000, UNIFORM),
        Reference(517.375, 0.366, 40_000, EXPERT_DATA.format("mpe/spread")),
    ),
    ("mpe/tag", "omar", "ba200a0a9569"): (
        Reference(-5.913, 0.069, 20_000, UNIFORM),
        Reference(187.850, 0.332, 40_000, EXPERT_DATA.format("mpe/tag")),
    ),
    ("mpe/world", "omar", "0e39fb3a0a22"): (
        Reference(-7.742, 0.035, 20_000, UNIFORM),
        Reference(80.499, 0.151, 40_000, EXPERT_DATA.format("mpe/world")),
    ),
    ("mamujoco/halfcheetah-2x3", "gymnasium-v5", None): (
        Reference(-282.433, 3.348, 500, UNIFORM),
        Reference(3724.458, 24.447, 300, EXPERT_DATA.format("mamujoco/halfcheetah-2x3")),
    ),
    ("mamujoco/halfcheetah-6x1", "gymnasium-v5", None): (
        Reference(-282.433, 3.348, 500, UNIFORM),
        Reference(6140.085, 10.311, 200, EXPERT_DATA.format("mamujoco/halfcheetah-6x1")),
    ),
    ("mamujoco/walker2d-2x3", "gymnasium-v5", None): (
        Reference(1.572, 0.252, 500, UNIFORM),
        Reference(3723.417, 6.053, 301, EXPERT_DATA.format("mamujoco/walker2d-2x3")),
    ),
    ("mamujoco/ant-2x4", "gymnasium-v5", None): (
        Reference(-50.709, 3.919, 500, UNIFORM),
        Reference(2151.279, 43.010, 216, EXPERT_DATA.format("mamujoco/ant-2x4")),
    ),
    ("mamujoco/ant-4x2", "gymnasium-v5", None): (
        Reference(-50.709, 3.919, 500, UNIFORM),
        Reference(2274.445, 30.661, 208, EXPERT_DATA.format("mamujoco/ant-4x2")),
    ),
    ("mamujoco/hopper-3x1", "gymnasium-v5", None): (
        Reference(18.493, 0.864, 500, UNIFORM),
        Reference(3352.373, 11.059, 303, EXPERT_DATA.format("mamujoco/hopper-3x1")),
    ),
    ("mpe/spread-6", "omar", None): (
        Reference(248.495, 0.537, 20_000, UNIFORM),
        Reference(792.317, 1.420, 10_000, EXPERT_DATA.format("mpe/spread-6")),
    ),
    ("mpe/spread-12", "omar", None): (
        Reference(692.741, 0.881, 20_000, UNIFORM),
        Reference(1603.246, 3.176, 4_000, EXPERT_DATA.format("mpe/spread-12")),
    ),
    ("mamujoco/manyagent-swimmer-10x2", "gymnasium-v5", None): (
        Reference(-45.264, 0.689, 200, UNIFORM),
        Reference(319.464, 0.741, 500, EXPERT_DATA.format("mamujoco/manyagent-swimmer-10x2")),
    ),
    ("mpe/spread", "mpe2", None): (Reference(-26.099, 0.018, 200_000, UNIFORM), None),
    # Against the prey of the published data, OMAR's pretrained_adv_model.pt.
    ("mpe/tag", "omar", "b22b95f3397f"): (Reference(-4.061, 0.025, 200_000, UNIFORM), None),
    ("mpe/world", "omar", "ed3170cfb9c3"): (Reference(-6.803, 0.013, 200_000, UNIFORM), None),
}

# The expert references of earlier recipes, by recipe version: scores of their data refer to these.
EARLIER: dict[int, dict[Variant, Reference]] = {
    1: {
        ("mpe/spread", "omar", None): Reference(
            548.75, 0.42, 40_000, EXPERT_DATA.format("mpe/spread")
        ),
        ("mpe/tag", "omar", "ba200a0a9569"): Reference(
            191.886, 0.319, 40_000, EXPERT_DATA.format("mpe/tag")
        ),
        ("mpe/world", "omar", "0e39fb3a0a22"): Reference(
            84.660, 0.140, 40_000, EXPERT_DATA.format("mpe/world")
        ),
    }
}
