"""Reference returns: what a random team and our expert data reach, and how to measure it.

The numbers are those that `python -m bench data references TASK` printed. A variant of a task
(other rules, another prey) that is not in the table has returns but no score. Importing this
module loads neither torch nor numpy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import DatasetError

if TYPE_CHECKING:
    from datasets.tasks import Task

STEPS = 500_000  # that a random team plays unless told otherwise
FEWEST_EPISODES = 200
RANDOM_SEED = 40_000


@dataclass(frozen=True)
class Reference:
    """A reference return with its standard error, the episodes behind it, and its source."""

    mean: float
    standard_error: float
    episodes: int
    source: str


UNIFORM = "uniform random actions in this environment"
EXPERT_DATA = "mean return of our recorded {}/expert, data seed 0"

# (task, rules, prey) -> (random, expert); None: not measured. The prey is named by the first 12
# digits of its file's sha256, so that another prey never inherits these numbers.
REFERENCES: dict[tuple[str, str, str | None], tuple[Reference | None, Reference | None]] = {
    ("mpe/spread", "omar", None): (
        Reference(160.113, 0.135, 200_000, UNIFORM),
        Reference(548.75, 0.42, 40_000, EXPERT_DATA.format("mpe/spread")),
    ),
    ("mpe/tag", "omar", "ba200a0a9569"): (
        Reference(-5.913, 0.069, 20_000, UNIFORM),
        Reference(191.886, 0.319, 40_000, EXPERT_DATA.format("mpe/tag")),
    ),
    ("mpe/world", "omar", "0e39fb3a0a22"): (
        Reference(-7.742, 0.035, 20_000, UNIFORM),
        Reference(84.660, 0.140, 40_000, EXPERT_DATA.format("mpe/world")),
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
    ("mpe/spread", "mpe2", None): (Reference(-26.099, 0.018, 200_000, UNIFORM), None),
    # Against the prey of the published data, OMAR's pretrained_adv_model.pt.
    ("mpe/tag", "omar", "b22b95f3397f"): (Reference(-4.061, 0.025, 200_000, UNIFORM), None),
    ("mpe/world", "omar", "ed3170cfb9c3"): (Reference(-6.803, 0.013, 200_000, UNIFORM), None),
}


def measure_random(task: "Task", episodes: int | None = None, seed: int = RANDOM_SEED) -> Reference:
    """Play whole episodes with uniform random actions; half a million steps by default."""
    import torch

    count = episodes or max(FEWEST_EPISODES, STEPS // task.horizon)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, count, task.copies):
        env = task.make_env(min(task.copies, count - start), seed + 1 + start)
        env.reset()
        shape = (env.num_envs, task.agents, max(task.action_sizes))
        total = torch.zeros(env.num_envs, task.agents, dtype=torch.float64)
        alive = torch.ones(env.num_envs, 1, dtype=torch.float64)
        for _ in range(task.horizon):
            action = torch.rand(shape, generator=generator) * 2.0 - 1.0
            _, reward, terminated, truncated = env.step(action)
            total += alive * reward.double()
            alive = alive * (~(terminated | truncated))[:, None]
        parts.append(total[:, list(task.scored_agents)].mean(dim=1))
    returns = torch.cat(parts)
    error = returns.std().item() / count**0.5
    return Reference(returns.mean().item(), error, count, UNIFORM)


def measure_expert(
    task: "Task",
    prey: str | None = None,
    data_dir: str | Path | None = None,
    size: int | None = None,
) -> Reference:
    """Return the mean return of our expert data, recorded first if missing.

    prey: what :func:`datasets.load_task` got, where it was a file. size: in transitions, the
    recipe's by default; a smaller set holds the first episodes of a larger one.
    """
    from datasets.loading import load

    dataset = load(f"{task.id}/expert", size=size, data_dir=data_dir, rules=task.rules, prey=prey)
    returns = dataset.card["returns"]
    source = EXPERT_DATA.format(task.id)
    episodes = dataset.card["n_episodes"]
    return Reference(returns["mean"], returns["standard_error"], episodes, source)


def report(
    task_id: str,
    rules: str | None = None,
    prey: str | None = None,
    episodes: int | None = None,
    data_dir: str | Path | None = None,
    size: int | None = None,
) -> str:
    """Measure both references of a task and return them as text, beside those of the table."""
    from datasets.tasks import load_task

    task = load_task(task_id, rules, prey)
    lines = [f"{task.id}   (rules {task.rules}, prey {task.prey or 'none'})"]
    lines.append(_line("random", measure_random(task, episodes), task.random_return))
    try:
        lines.append(
            _line("expert", measure_expert(task, prey, data_dir, size), task.expert_return)
        )
    except DatasetError as error:
        lines.append(f"  expert   not measured: {error}")
    return "\n".join(lines)


def _line(name: str, found: Reference, stored: Reference | None) -> str:
    text = (
        f"  {name}   {found.mean:.3f} ± {found.standard_error:.3f} (s.e.), "
        f"{found.episodes:,} episodes: {found.source}"
    )
    if stored is None:
        return f"{text}; none in the table"
    return f"{text}; table {stored.mean:.3f} ± {stored.standard_error:.3f}"
