"""Data that `python -m bench data export` wrote in OMAR's format, as drivers need them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import DatasetError

Array = NDArray[np.float32]
Policy = Callable[[list[Array]], list[Array]]  # observations (E, O_i) per agent -> actions (E, A_i)
FLOOR = 1e-3  # added to deviations, as in CORL


@dataclass(frozen=True)
class Recorded:
    """An exported dataset: its folder and what `dataset.json` says."""

    folder: Path
    about: dict[str, Any]

    @property
    def agents(self) -> int:
        """Return the number of agents."""
        return len(self.about["agents"])

    @property
    def quality(self) -> str:
        """Return the quality, such as expert: OMAR's code chooses constants by it."""
        return str(self.about["quality"])

    def rows(self, kind: str, agent: int) -> Array:
        """Return an agent's rows, (T, .) or (T,). kind: obs, acs, rews, next_obs or dones."""
        return np.load(self.folder / f"{kind}_{agent}.npy").astype(np.float32)

    def transitions(self, agent: int) -> dict[str, Array]:
        """Return an agent's transitions by the names that single-agent codes use."""
        names = {
            "observations": "obs",
            "actions": "acs",
            "rewards": "rews",
            "next_observations": "next_obs",
            "terminals": "dones",
        }
        return {name: self.rows(kind, agent) for name, kind in names.items()}


@dataclass
class Job:
    """What a driver is asked for: settings of its own, updates, batch and seed."""

    settings: dict[str, Any]
    updates: int
    batch_size: int
    seed: int
    used: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Any:
        self.used.add(name)
        if name not in self.settings:
            raise DatasetError(f"pairs.toml lacks the setting {name!r} of this official code.")
        return self.settings[name]

    def check_used(self) -> None:
        """Raise DatasetError for a setting that the driver did not read."""
        unread = sorted(set(self.settings) - self.used)
        if unread:
            raise DatasetError(f"the driver does not know the settings {', '.join(unread)}.")

    def agent_seed(self, agent: int) -> int:
        """Return a seed of its own for an agent of a single-agent code."""
        return 100 * self.seed + agent


def read(folder: str | Path) -> Recorded:
    """Read an export; DatasetError where the folder holds none, or one of another format."""
    place = Path(folder).expanduser()
    sidecar = place / "dataset.json"
    if not sidecar.is_file():
        raise DatasetError(
            f"{place} holds no dataset.json: --data names a folder that "
            "`python -m bench data export` wrote."
        )
    about = json.loads(sidecar.read_text(encoding="utf-8"))
    if about.get("format") != "omar":
        raise DatasetError(
            f"{place} is an export in the format {about.get('format')}; export with --format omar."
        )
    return Recorded(place, about)
