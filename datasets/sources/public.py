"""Published recordings by name: ``public:om2p/spread/expert``. Loads neither torch nor numpy.

The table of known sources is `public.toml`. A name stands for an address on the Hugging Face Hub
and for everything that an import has to be told besides: layout, task, order of actions.
"""

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from datasets.errors import DatasetError
from datasets.sources import hub

PREFIX = "public:"
TABLE = Path(__file__).parent / "public.toml"


@dataclass(frozen=True)
class Published:
    """A published recording: where it lies, and how its files are read."""

    name: str  # om2p/spread/expert
    address: str  # hub:OWNER/NAME/FOLDER
    format: str
    task: str
    quality: str
    publisher: str
    licence: str
    physics: str
    action_order: str | None = None

    @property
    def import_name(self) -> str:
        """The name of the imported dataset, unless another is asked for."""
        return self.name.replace("/", "-")


@cache
def table() -> dict[str, Published]:
    """Return every known recording by its name, in the order of the table."""
    made = {}
    for source, about in tomllib.loads(TABLE.read_text(encoding="utf-8")).items():
        for row_name, row in about["rows"].items():
            for quality, theirs in _qualities(about["qualities"]):
                name = f"{source}/{row_name}/{quality}"
                path = row["path"].format(quality=theirs)
                made[name] = Published(
                    name=name,
                    address=f"{hub.PREFIX}{about['repository']}/{path}",
                    format=about["format"],
                    task=row["task"],
                    quality=quality,
                    publisher=about["publisher"],
                    licence=about["licence"],
                    physics=row["physics"],
                    action_order=row.get("action_order"),
                )
    return made


def _qualities(known: Any) -> list[tuple[str, str]]:
    """Return our names of the qualities of a source, each with the publishers'."""
    return list(known.items()) if isinstance(known, dict) else [(name, name) for name in known]


def is_public(path: str | Path) -> bool:
    """Tell whether a path names a published recording."""
    return str(path).startswith(PREFIX)


def find(address: str | Path) -> Published:
    """Return the recording that ``public:SOURCE/TASK/QUALITY`` names; DatasetError for others."""
    name = str(address).removeprefix(PREFIX)
    if name not in table():
        near = difflib.get_close_matches(name, table(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise DatasetError(
            f"unknown published recording '{name}'; {hint}`list datasets --public` lists them."
        )
    return table()[name]
