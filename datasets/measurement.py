"""Measure reference returns: `python -m bench data references TASK`."""

from pathlib import Path

import torch

from datasets.errors import DatasetError
from datasets.loading import load
from datasets.references import EXPERT_DATA, UNIFORM, Reference
from datasets.rollout import Returns, play, uniform
from datasets.tasks import PLUGIN, Task, load_task

STEPS = 500_000  # of a random team, by default
FEWEST_EPISODES = 200
RANDOM_SEED = 40_000


def measure_random(task: Task, episodes: int | None = None, seed: int = RANDOM_SEED) -> Reference:
    """Play whole episodes with uniform random actions; half a million steps by default."""

    count = episodes or max(FEWEST_EPISODES, STEPS // task.horizon)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, count, task.copies):
        env = task.make_env(min(task.copies, count - start), seed + 1 + start)
        # Never stopped early: what is drawn in a batch must not depend on when episodes end.
        played = play(env, uniform(env, generator), Returns(), task.horizon, stop_early=False)
        parts.append(played.total[:, list(task.scored_agents)].mean(dim=1))
    returns = torch.cat(parts)
    error = returns.std().item() / count**0.5
    return Reference(returns.mean().item(), error, count, UNIFORM)


def measure_expert(
    task: Task,
    prey: str | None = None,
    data_dir: str | Path | None = None,
    size: int | None = None,
) -> Reference:
    """Return the mean return of our expert data, recorded first if missing.

    prey: what :func:`datasets.load_task` got, where it was a file. size: in transitions, the
    recipe's by default; a smaller set holds the first episodes of a larger one.
    """
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
    task = load_task(task_id, rules, prey)
    lines = [f"{task.id}   (rules {task.rules}, prey {task.prey or 'none'})"]
    random = measure_random(task, episodes)
    lines.append(_line("random", random, task.random_return))
    if task.rules.startswith(PLUGIN):
        return "\n".join([*lines, *_to_paste(random, task)])
    try:
        lines.append(
            _line("expert", measure_expert(task, prey, data_dir, size), task.expert_return)
        )
    except DatasetError as error:
        lines.append(f"  expert   not measured: {error}")
    return "\n".join(lines)


def _to_paste(random: Reference, task: Task) -> list[str]:
    """Return what gives a plug-in's task its scores, as lines of its file."""
    known = task.expert_return
    expert = 'Reference(MEAN, STANDARD_ERROR, EPISODES, "who acted")'
    lines = [
        "",
        "paste into the plug-in (which is another version of the task then):",
        "    from datasets import Reference",
        "and into its call of plugin_task:",
        f"    random_return={_written(random)},",
        f"    expert_return={expert if known is None else _written(known)},",
    ]
    if known is None:
        lines.append(
            "A score needs both. For the second, take the mean return of the best team that you "
            "have: `data record` and `data import` print it."
        )
    return lines


def _written(reference: Reference) -> str:
    """Return a reference as Python source."""
    return (
        f"Reference({reference.mean:.3f}, {reference.standard_error:.3f}, {reference.episodes}, "
        f'"{reference.source}")'
    )


def _line(name: str, measured: Reference, stored: Reference | None) -> str:
    text = (
        f"  {name}   {measured.mean:.3f} ± {measured.standard_error:.3f} (s.e.), "
        f"{measured.episodes:,} episodes: {measured.source}"
    )
    if stored is None:
        return f"{text}; none in the table"
    return f"{text}; table {stored.mean:.3f} ± {stored.standard_error:.3f}"
