"""Tasks, environments, behaviour policies and recorded data.

Whatever plays a task or holds data of one belongs here. Of our other packages it may import the
member networks and the CUDA functions of `algorithms`, and never `bench`. Start with `tasks`, then
`rollout`, the one loop that plays a team.

Importing this package loads neither torch nor numpy; the functions below load what they need.
"""

from typing import TYPE_CHECKING, Any

OM2P_BENCH = "om2p-bench"

_EXPORTS = {
    "DatasetError": "datasets.errors",
    "Task": "datasets.tasks",
    "task_ids": "datasets.tasks",
    "load_task": "datasets.tasks",
    "dataset_ids": "datasets.recipes",
    "recipe": "datasets.recipes",
    "Dataset": "datasets.recorded.store",
    "data_dir": "datasets.paths",
    "load": "datasets.loading",
    "write": "datasets.formats.arrays",
    "plugin_task": "datasets.adapters.parallel",
    "TeamEnv": "datasets.adapters.team_env",
    "Reference": "datasets.references",
}

__all__ = [
    "Dataset",
    "DatasetError",
    "Reference",
    "Task",
    "TeamEnv",
    "data_dir",
    "dataset_ids",
    "load",
    "load_task",
    "plugin_task",
    "recipe",
    "task_ids",
    "write",
]

if TYPE_CHECKING:
    from datasets.adapters.parallel import plugin_task
    from datasets.adapters.team_env import TeamEnv
    from datasets.errors import DatasetError
    from datasets.formats.arrays import write
    from datasets.loading import load
    from datasets.paths import data_dir
    from datasets.recipes import dataset_ids, recipe
    from datasets.recorded.store import Dataset
    from datasets.references import Reference
    from datasets.tasks import Task, load_task, task_ids


def _guard() -> None:
    """Refuse to stand for another distribution's `datasets`, whose files ours have overwritten."""
    from pathlib import Path

    for info in Path(__file__).resolve().parent.parent.glob("datasets-*.dist-info"):
        owner = info.name.removesuffix(".dist-info").replace("-", " ")
        raise ImportError(
            f"the package 'datasets' belongs to two distributions here, om2p-bench and {owner} "
            "(such as Hugging Face's), and om2p-bench has overwritten files of the other: give "
            "om2p-bench an environment of its own, and reinstall the other here"
        )


_guard()


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'datasets' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_EXPORTS[name]), name)
