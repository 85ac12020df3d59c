"""The order of actions in multi-agent MuJoCo: two wrappers, two meanings of the same array.

The older wrapper (of OMAR, OMIGA, MADiff) hands the agents' actions, one after another, to the
actuators 0, 1, 2, ...; gymnasium-robotics, whose order is ours, gives every agent the actuators
beside its own joints. The two agree for HalfCheetah and Hopper. For the tasks below the older
array moves other joints than ours would with the same numbers.
"""

import numpy as np

from datasets.environments.mujoco_teams import TEAMS
from datasets.errors import DatasetError
from datasets.tasks import Task


def _in_turn(actuators: tuple[tuple[int, ...], ...]) -> bool:
    flat = [number for own in actuators for number in own]
    return flat == sorted(flat)


# The actuators of each agent's action, by the task's id, where they are not 0, 1, 2, ... in turn.
ACTUATORS: dict[str, tuple[tuple[int, ...], ...]] = {
    f"mamujoco/{name}": team.actuators
    for name, team in TEAMS.items()
    if not _in_turn(team.actuators)
}
ORDERS = ("old", "gymnasium")
# What the published files of a layout hold. A vault may hold either: OG-MARL publishes both.
BY_LAYOUT = {"omar": "gymnasium", "omiga": "old", "madiff": "old"}
REORDERED = (
    "actions were reordered from the older wrapper's, which hands them to the actuators one after "
    "another, to gymnasium-robotics': an agent's action now moves its own joints"
)


def actuators(
    layout_name: str, task: Task, order: str | None
) -> tuple[tuple[int, ...], ...] | None:
    """Return where each agent's action lies in the older wrapper's joint action.

    None where the actions can be taken as they are. ``order`` says what the files hold; without
    it, what the layout's publishers wrote.
    """
    if order not in (None, *ORDERS):
        raise DatasetError(f"unknown action order '{order}'; the two are old and gymnasium.")
    if task.id not in ACTUATORS:
        return None
    order = order or BY_LAYOUT.get(layout_name)
    if order is None:
        raise DatasetError(
            f"vaults of {task.id} were published with two orders of actions; say --action-order "
            "gymnasium for those recorded with gymnasium-robotics (gymnasium_mamujoco), else old."
        )
    return ACTUATORS[task.id] if order == "old" else None


def reorder(actions: list[np.ndarray], places: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    """Return every agent's actions (rows, A_i) taken from the joint action, (rows, A) in all."""
    joint = np.concatenate(actions, axis=1)
    return [joint[:, list(own)] for own in places]
