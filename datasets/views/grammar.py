"""What can stand behind the @ of a dataset's id. Torch-free.

mpe/spread/expert@reward-zero
mpe/tag/medium@corrupt-actions-0.1@range-1.0      several, in the order of the table
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.errors import DatasetError, unknown

MARK = "@"
VERSION = 1  # of what views do; part of the identity of every dataset with one


@dataclass(frozen=True)
class Kind:
    """A kind of view: the array that it changes, its amount if it has one, and what it does."""

    changes: str  # observation, action or reward
    summary: str
    amount: str = ""  # what the number behind the name is; empty where there is none
    most: float = 1.0  # the largest amount
    while_playing: bool = False  # whether it limits a team in evaluation too


# In the order in which they stand behind each other; of each array's changes one at most.
KINDS: dict[str, Kind] = {
    "reward-zero": Kind("reward", "all rewards are zero"),
    "reward-negated": Kind("reward", "rewards have the other sign"),
    "reward-shuffled": Kind("reward", "steps exchange their rewards at random"),
    "reward-random": Kind("reward", "uniform rewards with the mean and spread of the recorded"),
    "reward-team": Kind("reward", "every agent gets the mean of the team"),
    "reward-sparse": Kind("reward", "what exceeds the best tenth's threshold; otherwise zero"),
    "corrupt-rewards": Kind(
        "reward", "of a share of steps, rewards are uniform within their range", "share"
    ),
    "corrupt-actions": Kind("action", "of a share of steps, actions are uniform", "share"),
    "noise": Kind(
        "observation", "Gaussian noise on recorded observations", "standard deviations", 10.0
    ),
    "range": Kind(
        "observation", "bodies farther away are zero, in training and in evaluation", "distance",
        100.0, while_playing=True,
    ),
    "no-velocity": Kind(
        "observation", "velocities are zero, in training and in evaluation", while_playing=True
    ),
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """One view: its kind and amount, whose text is the one way to write it."""

    kind: str
    amount: float | None = None

    @property
    def text(self) -> str:
        """What stands behind the @."""
        return self.kind if self.amount is None else f"{self.kind}-{self.amount!r}"

    @property
    def what(self) -> Kind:
        """The row of its kind."""
        return KINDS[self.kind]


def split(dataset_id: str) -> tuple[str, tuple[View, ...]]:
    """Split an id into the recording's and its views; DatasetError for what is no view."""
    base, *names = dataset_id.split(MARK)
    views = tuple(_view(name, dataset_id) for name in names)
    _check_order(views, dataset_id)
    return base, views


def names(views: Sequence[View]) -> list[str]:
    """Return the texts of views."""
    return [view.text for view in views]


def suffix(views: Sequence[View]) -> str:
    """Return what stands behind a recording's id."""
    return "".join(f"{MARK}{view.text}" for view in views)


def _view(name: str, dataset_id: str) -> View:
    if name in KINDS and not KINDS[name].amount:
        return View(name)
    kind, _, number = name.rpartition("-")
    if name in KINDS or kind not in KINDS or not KINDS[kind].amount:
        missing = KINDS.get(name)
        if missing is not None:
            raise DatasetError(
                f"{dataset_id} lacks the {missing.amount} of @{name}; write it as in @{name}-0.1."
            )
        forms = [one if not row.amount else f"{one}-0.1" for one, row in KINDS.items()]
        raise unknown("view", name, forms)
    row = KINDS[kind]
    amount = _number(number)
    if amount is None or not 0.0001 <= amount <= row.most:
        raise DatasetError(
            f"the {row.amount} of @{name} must be a number from 0.0001 to {row.most:g}; write it "
            f"as in @{kind}-0.1."
        )
    if repr(amount) != number:
        raise DatasetError(
            f"@{name} has another spelling, by which its cells are known; write @{kind}-{amount!r}."
        )
    return View(kind, amount)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,4})?", text, re.ASCII) else None


def _check_order(views: Sequence[View], dataset_id: str) -> None:
    """Refuse two ways to write the same, and two changes of one kind."""
    order = list(KINDS)
    places = [order.index(view.kind) for view in views]
    if places != sorted(places):
        right = sorted(views, key=lambda view: order.index(view.kind))
        raise DatasetError(
            f"the views of {dataset_id} stand in another order; write "
            f"{dataset_id.split(MARK, maxsplit=1)[0]}{suffix(right)}."
        )
    rewards = [view.text for view in views if view.kind.startswith("reward-")]
    if len(set(places)) < len(places) or len(rewards) > 1:
        raise DatasetError(
            f"{dataset_id} names one kind of view twice; name each once, and one other reward."
        )
