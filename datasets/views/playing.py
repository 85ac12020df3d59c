"""A task as a team plays it under a view that limits what agents see."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from datasets.tasks import Task
from datasets.views import grammar

if TYPE_CHECKING:
    from datasets.environments.base import BatchedEnv


def played(task: Task, dataset_id: str) -> Task:
    """Return the task that a team trained on this dataset plays: limited as its data are.

    Views of rewards, and noise in the data, leave a task as it is.
    """
    _, views = grammar.split(dataset_id)
    limits = [view for view in views if view.what.while_playing]
    if not limits:
        return task
    from datasets.views.changes import limited

    sees = [limited(task, view) for view in limits]

    def maker(_: Task, num_envs: int, seed: int, device: str, dtype: Any) -> "BatchedEnv":
        from datasets.perturb.observation import Observing

        class Limited(Observing):
            def see(self, observation: Any) -> Any:
                return _through(sees, observation)

        return Limited(task.make_env(num_envs, seed, device, dtype))

    return replace(task, maker=maker)


def _through(sees: list[Callable[[Any], Any]], observation: Any) -> Any:
    for see in sees:
        observation = see(observation)
    return observation
