"""What the actions of published files mean: their order, and their form.

Multi-agent MuJoCo has two wrappers, and two meanings of the same array.

The older wrapper (of OMAR, OMIGA, MADiff) hands the agents' actions, one after another, to the
actuators 0, 1, 2, ...; gymnasium-robotics, whose order is ours, gives every agent the actuators
beside its own joints. The two agree for HalfCheetah and Hopper. For the tasks below the older
array moves other joints than ours would with the same numbers.

The particle tasks have other forms: five numbers or a choice of five ("nothing" and the four
directions), and numbers in [0, 1]. Ours are two numbers in [-1, 1], right minus left and up minus
down, which is all that acts.
"""

from dataclasses import dataclass, replace

import numpy as np

from datasets.environments.mujoco_teams import TEAMS
from datasets.errors import DatasetError
from datasets.formats.layout import Layout, Part
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


# --- forms ---------------------------------------------------------------------------------------

WAYS = 5  # nothing and the four directions
FORMS = {
    "five-way": "five numbers per agent: right minus left, up minus down",
    "integer": "a choice of five per agent, 0 to 4: right minus left, up minus down",
    "zero-one": "numbers in [0, 1]: 2 a - 1",
}
# Where right, left, up and down lie among the five: the fork of the published data, and `mpe2`.
PLACES = {"omar": (1, 2, 3, 4), "mpe2": (2, 1, 4, 3)}


@dataclass(frozen=True)
class Converted(Part):
    """Actions of another form, read as ours."""

    form: str = "zero-one"
    places: tuple[int, int, int, int] = PLACES["omar"]

    @property
    def width(self) -> int:
        """Numbers per time step after the conversion."""
        return super().width if self.form == "zero-one" else 2

    def read(self, rows: slice) -> np.ndarray:
        """Return rows in our form, (rows, width)."""
        values = super().read(rows)
        if self.form == "zero-one":
            return 2.0 * values.astype(np.float64) - 1.0
        if self.form == "integer":
            chosen = values[:, 0].astype(np.int64)
            if ((values[:, 0] != chosen) | (chosen < 0) | (chosen >= WAYS)).any():
                raise DatasetError(f"{self.name} holds more than the integers 0 to {WAYS - 1}.")
            values = np.eye(WAYS)[chosen]
        right, left, up, down = (values[:, place].astype(np.float64) for place in self.places)
        return np.stack([right - left, up - down], axis=1)


def in_our_form(layout: Layout, task: Task, form: str | None) -> Layout:
    """Return the layout with its actions read as ours.

    Raises DatasetError for an unknown form, and where the actions have another one that was not
    named: with the conversion and the flag that does it.
    """
    if form not in (None, *FORMS):
        raise DatasetError(f"unknown action form '{form}'; the forms are {', '.join(FORMS)}.")
    if form is None:
        _check_form(layout.action, task)
        return layout
    if form != "zero-one" and set(task.action_sizes) != {2}:
        raise DatasetError(f"--action-form {form} is for particle tasks, not for {task.id}.")
    places = PLACES.get(task.rules, PLACES["omar"])
    read: list[Part] = [Converted(**vars(part), form=form, places=places) for part in layout.action]
    return replace(layout, action=read, notes=[*layout.notes, f"actions were {FORMS[form]}"])


def _check_form(parts: list[Part], task: Task) -> None:
    """Refuse actions of a form that particle tasks are known to have elsewhere."""
    if not task.id.startswith("mpe/") or set(task.action_sizes) != {2}:
        return
    widths = {part.width for part in parts}
    if widths == {WAYS} and parts[0].agent is None:
        numbers, meaning, form = "5 numbers", "nothing and the four directions", "five-way"
    elif widths == {1}:
        numbers, meaning, form = "1 number", "a choice among nothing and four directions", "integer"
    else:
        return
    raise DatasetError(
        f"{parts[0].name} has {numbers} per action where {task.id} has 2; if they are {meaning}, "
        f"--action-form {form} converts them (right minus left, up minus down)."
    )
