"""Files that are whole and still not what a dataset holds, as fuzzing showed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.recorded.checks import check_arrays, check_card

CARD = {"observation_sizes": [4, 3], "action_sizes": [2, 1]}


def arrays() -> dict[str, np.ndarray]:
    """Arrays of two episodes of 3 and 2 steps of two agents."""
    return {
        "observation": np.zeros((7, 2, 4), "f4"), "action": np.zeros((5, 2, 2), "f4"),
        "reward": np.zeros((5, 2), "f4"), "terminated": np.zeros(5, bool),
        "episode_length": np.array([3, 2], "i4"),
    }  # fmt: skip


def test_what_fits_is_accepted(tmp_path: Path) -> None:
    check_arrays(tmp_path, CARD, arrays())


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("observation", np.zeros((7, 2, 4), ">f4")),  # torch cannot take another byte order
        ("reward", np.zeros((5, 2), "f8")),
        ("reward", np.zeros((5, 1), "f4")),
        ("action", np.zeros((6, 2, 2), "f4")),
        ("terminated", np.zeros(5, "f4")),
        ("episode_length", np.array([3, 3], "i4")),
        ("episode_length", np.array([5, 0], "i4")),
        ("episode_length", np.array([3.0, 2.0])),
        ("episode_length", np.array([], "i4")),
    ],
)
def test_what_does_not_fit_is_refused(name: str, array: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is damaged"):
        check_arrays(tmp_path, CARD, arrays() | {name: array})


@pytest.mark.parametrize("files", [1.5, None, ["a"], {"action.npy": 3}, "x"])
def test_a_list_of_files_of_another_kind_is_refused(files: Any, tmp_path: Path) -> None:
    """The list is checked even before the files are compared with it."""
    card = {
        "task": "mpe/spread", "checksum": "", "rules": "omar", "prey": None, "horizon": 25,
        "files": files, "observation_sizes": [18], "action_sizes": [2],
    }  # fmt: skip
    with pytest.raises(DatasetError, match="its list of files is not one of names and hashes"):
        check_card(tmp_path, card, complete=False)
