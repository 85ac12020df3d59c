"""What a recorded dataset has to look like before anything relies on it. Loads no torch.

Hashes say that files are those of their card; they do not say that card and files make sense. A
card edited by hand, or made to mislead, must be refused here and not somewhere inside a training.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.recorded.files import CARD, broken

if TYPE_CHECKING:
    import numpy as np

MAX_AGENTS, MAX_WIDTH, MAX_HORIZON = 1000, 100_000, 10**6


def open_plain(path: Path, mode: Any) -> "np.ndarray":
    """Open a .npy file memory-mapped, never unpickling; ValueError where that cannot be done."""
    import numpy as np

    try:
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except Exception as error:  # numpy's parser of headers raises half a dozen types
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive of arrays; unpack it into .npy files")
    return array


def check_card(folder: Path, card: dict[str, Any], complete: bool = True) -> None:
    """Refuse a card whose values are of another form than those we write.

    complete: whether the statistics must be there, which are added once the arrays lie on disk.
    """
    problem = (
        _of_files(card["files"]) or _of_team(card) or (_of_statistics(card) if complete else "")
    )
    if problem:
        raise broken(folder / CARD, problem)


def _of_files(files: Any) -> str:
    """Return what is wrong with the hashes of files by name."""
    named = isinstance(files, dict) and all(isinstance(value, str) for value in files.values())
    return "" if named else "its list of files is not one of names and hashes"


def _of_team(card: dict[str, Any]) -> str:
    """Return what is wrong with the facts that say how to read the arrays."""
    for key in ("task", "checksum", "rules", "prey"):
        if not isinstance(card[key], str | None if key in ("rules", "prey") else str):
            return f"{key} is not text"
    if not _is_count(card["horizon"], MAX_HORIZON):
        return "horizon is not a number of steps"
    for key in ("observation_sizes", "action_sizes"):
        sizes = card.get(key)
        if not isinstance(sizes, list) or not 1 <= len(sizes) <= MAX_AGENTS:
            return f"{key} is not a list of one size per agent"
        if not all(_is_count(size, MAX_WIDTH) for size in sizes):
            return f"{key} holds something other than sizes"
    if len(card["observation_sizes"]) != len(card["action_sizes"]):
        return "observation_sizes and action_sizes describe different teams"
    return ""


def _of_statistics(card: dict[str, Any]) -> str:
    """Return what is wrong with the statistics that training and reports use."""
    if not _is_count(card.get("n_transitions"), 2**40):
        return "n_transitions is not a number of transitions"
    returns = card.get("returns")
    for key in ("mean", "min", "max"):
        if not isinstance(returns, dict) or not _is_number(returns.get(key)):
            return f"returns has no {key}"
    shape = (len(card["observation_sizes"]), max(card["observation_sizes"]))
    for key in ("observation_mean", "observation_std"):
        rows = card.get(key)
        if not isinstance(rows, list) or len(rows) != shape[0]:
            return f"{key} does not have one row per agent"
        if not all(isinstance(row, list) and len(row) == shape[1] for row in rows):
            return f"{key} does not have {shape[1]} numbers per agent"
        if not all(_is_number(value) for row in rows for value in row):
            return f"{key} holds something other than finite numbers"
    return ""


def check_arrays(folder: Path, card: dict[str, Any], arrays: dict[str, "np.ndarray"]) -> None:
    """Refuse arrays whose shapes, kinds or episodes do not fit each other and the card."""
    lengths = arrays["episode_length"]
    if lengths.ndim != 1 or lengths.dtype != "i4" or not len(lengths):
        raise broken(folder / "episode_length.npy", "it is not a list of episode lengths")
    if int(lengths.min()) < 1 or int(lengths.max()) > MAX_HORIZON:
        raise broken(folder / "episode_length.npy", "it holds impossible lengths")
    steps, agents = int(lengths.sum(dtype="i8")), len(card["observation_sizes"])
    expected = {
        "observation": ((steps + len(lengths), agents, max(card["observation_sizes"])), "f4"),
        "action": ((steps, agents, max(card["action_sizes"])), "f4"),
        "reward": ((steps, agents), "f4"),
        "terminated": ((steps,), "?"),
    }
    for name, (shape, kind) in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != kind:  # the byte order is part of it
            raise broken(
                folder / f"{name}.npy",
                f"it holds {array.dtype.str} of shape {array.shape}, but its card and episodes ask "
                f"for {kind} of shape {shape}",
            )


def check_optional(
    folder: Path, arrays: dict[str, "np.ndarray"], optional: dict[str, "np.ndarray"]
) -> None:
    """Refuse arrays that not every recording has, where they do not fit the others."""
    steps, episodes = len(arrays["action"]), len(arrays["episode_length"])
    for name, rows, width in (
        ("state", steps, None), ("last_reward", episodes, arrays["reward"].shape[1])
    ):  # fmt: skip
        array = optional.get(name)
        if array is None:
            continue
        fits = array.ndim == 2 and len(array) == rows and width in (None, array.shape[1])
        if not fits or array.dtype != "f4":
            raise broken(
                folder / f"{name}.npy",
                f"it holds {array.dtype.str} of shape {array.shape} where {rows} rows of f4 belong",
            )


def _is_count(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= limit


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)
