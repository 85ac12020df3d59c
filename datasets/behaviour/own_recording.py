"""Record a dataset with a policy of the user's own, as ``import/<name>``."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.behaviour.policy_file import Checked, Policy
from datasets.behaviour.recording import AT_ONCE, CUT_RULES
from datasets.environments.prey import EXTERNAL
from datasets.errors import DatasetError
from datasets.formats import imported
from datasets.paths import Progress, new_folder
from datasets.recorded.card import write_card
from datasets.recorded.files import IMPORTED
from datasets.recorded.writer import Writer
from datasets.rollout import Transitions, play
from datasets.tasks import Task, load_task

SIZE = 100_000  # transitions, where nothing else is asked for


def record(
    task_id: str,
    policy: Policy,
    name: str,
    size: int | None = None,
    data_seed: int = 0,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    rules: str | None = None,
    prey: str | None = None,
) -> Path:
    """Record a task with a policy of the user's own as ``import/<name>``; return its folder.

    size: transitions, in whole episodes, so that there may be a few more. The same policy, size and
    seed give the same files. The policy's hash stands in the card and in the dataset's identity.
    Raises DatasetError where the policy acts wrongly; nothing is left then.
    """
    task = load_task(task_id, rules, prey)
    if task.prey == EXTERNAL:
        raise DatasetError(f"a prey moves inside the environment; prey='{EXTERNAL}' is no team's.")
    size = SIZE if size is None else size
    if size < task.horizon:
        raise DatasetError(
            f"size {size} is less than one episode of {task.horizon} steps; ask for more."
        )
    folder = imported.free_folder(name, data_dir)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = new_folder(folder)
        try:
            _roll(task, policy, size, data_seed, partial, progress)
            write_card(partial, _facts(task, policy, name, size, data_seed))
            os.rename(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be written ({error.strerror or error}); choose another data folder "
            "with --data-dir."
        ) from error
    return folder


def _roll(
    task: Task,
    policy: Policy,
    size: int,
    data_seed: int,
    folder: Path,
    progress: Progress | None,
) -> None:
    """Play whole episodes, many side by side, until the size is reached."""
    start_seed, action_seed = np.random.SeedSequence(data_seed).spawn(2)
    rng = np.random.default_rng(action_seed)
    copies = min(AT_ONCE // task.horizon or 1, task.copies, -(-size // task.horizon))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whatever the machine is doing
    writer = Writer(folder, task)
    try:
        env = task.make_env(copies, int(start_seed.generate_state(1, np.uint64)[0]) >> 1)
        while writer.transitions < size:
            episode = writer.arrays["episode_length"].rows
            played = play(env, Checked(policy, task, rng, episode), Transitions())
            writer.add(played.stacked(), played.lengths, size)
            if progress is not None:
                progress(min(writer.transitions, size), size, "recording")
    finally:
        writer.close()
        torch.set_num_threads(threads)


def _facts(task: Task, policy: Policy, name: str, size: int, data_seed: int) -> dict[str, Any]:
    """Return what the card says besides statistics."""
    return {
        "id": f"{IMPORTED}/{name}",
        "task": task.id,
        "rules": task.rules,
        "prey": task.prey,
        "quality": f"{IMPORTED}/{name}",
        "data_seed": None,  # one recording: other seeds are others' names
        "fraction": 1.0,
        "horizon": task.horizon,
        "agents": task.agents,
        "observation_sizes": list(task.observation_sizes),
        "action_sizes": list(task.action_sizes),
        "cut_rule": CUT_RULES[task.ends],
        "replay_kind": None,
        "team": None,
        "recipe": {"policy": policy.as_card(), "size": size, "data_seed": data_seed},
        "source": "recorded by om2p-bench with a policy of the user's own",
        "licence": "as its recorder says",
        "libraries": {"torch": torch.__version__, "numpy": np.__version__},
    }
