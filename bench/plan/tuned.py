"""Published hyper-parameters per dataset, from `tuned.toml`. Light to import; used with --tuned."""

import dataclasses
import tomllib
from functools import cache
from pathlib import Path

from bench.outside import Json, Settings, TomlTable

PATH = Path(__file__).with_name("tuned.toml")


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What was published for one algorithm on one dataset, and where."""

    values: Settings
    source: str

    def as_dict(self) -> Json:
        """Return it as a record keeps it."""
        return {"values": self.values, "source": self.source}


@cache
def table() -> dict[str, dict[str, dict[str, Tuned]]]:
    """Return algorithm -> task -> quality -> what was published."""
    raw = tomllib.loads(PATH.read_text(encoding="utf-8"))
    return {
        name: {
            task: {quality: _values(values) for quality, values in qualities.items()}
            for task, qualities in tasks.items()
        }
        for name, tasks in raw.items()
    }


def _values(values: TomlTable) -> Tuned:
    values = dict(values)
    return Tuned(source=values.pop("source"), values=values)


def lookup(algorithm: str, task: str | None, quality: str | None) -> Tuned | None:
    """Return what was published for a dataset of this task and quality, None where nothing was."""
    return table().get(algorithm, {}).get(task or "", {}).get(quality or "")


def tasks(algorithm: str) -> list[str]:
    """Return the tasks for which an algorithm has published values."""
    return list(table().get(algorithm, {}))
