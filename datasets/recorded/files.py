"""The files of a dataset: its card, hashes and checks. Loads neither torch nor numpy."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from datasets.errors import DatasetError
from datasets.paths import sha256

CARD = "card.json"
IMPORTED = "import"  # the folder of imported datasets, and the first part of their ids
CARD_LIMIT = 1 << 26  # bytes
REQUIRED = {"task", "rules", "prey", "horizon", "files", "checksum", "observation_sizes"}


def checksum(files: dict[str, str]) -> str:
    """Return one sha256 over the names and hashes of all files."""
    text = "".join(f"{name} {value}\n" for name, value in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def broken(path: Path, why: str) -> DatasetError:
    """Return the error for an unusable file, with the cure."""
    cure = "it is built again on the next run"
    if path.parent.parent.name == IMPORTED:
        cure = "import its files again with `python -m bench data import` (or `data record` it)"
    return DatasetError(
        f"dataset file {path} is damaged ({why}); delete the folder {path.parent} and {cure}."
    )


class Unreadable(DatasetError):
    """A file that is there, for others than this user."""


def unreadable(path: Path, error: OSError) -> Unreadable:
    """Return the error for a file that this user may not read, with the cure."""
    return Unreadable(
        f"{path} cannot be read ({error.strerror or error}); ask its owner for permission "
        f"(chmod -R a+rX), or name another data folder with --data-dir."
    )


def dataset_folders(root: Path) -> tuple[list[Path], list[DatasetError]]:
    """Return the folders of a data folder that hold a dataset, and an error per unreadable one.

    Folders that are being recorded, whose names begin with a dot, are left out.
    """
    refused: list[OSError] = []
    folders = [
        Path(place)
        for place, _, names in os.walk(root, onerror=refused.append)
        if CARD in names and not Path(place).name.startswith(".")
    ]
    return sorted(folders), [
        unreadable(Path(error.filename), error)
        for error in refused
        if not isinstance(error, FileNotFoundError)  # nothing recorded yet, or deleted meanwhile
        and not Path(error.filename).name.startswith(".")
    ]


def read_card(folder: Path) -> dict[str, Any]:
    """Read a dataset's card."""
    path = folder / CARD
    try:
        if path.stat().st_size > CARD_LIMIT:
            raise broken(path, f"it is larger than {CARD_LIMIT} bytes")
        card = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise unreadable(path, error) from error
    except (OSError, ValueError, RecursionError) as error:
        raise broken(path, f"no readable card: {error}") from error
    missing = REQUIRED - set(card if isinstance(card, dict) else ())
    if missing:
        raise broken(path, f"it lacks {', '.join(sorted(missing))}")
    return card


def verify_files(folder: Path, card: dict[str, Any]) -> None:
    """Compare every file with the card's sha256; name the first that differs."""
    files = card["files"]
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise broken(folder / CARD, "its list of files is not one of names and hashes")
    for name, expected in files.items():
        if "/" in name or "\0" in name or name.startswith("."):
            raise broken(folder / CARD, "it names files outside its folder")
        path = folder / name
        try:
            if not path.is_file():
                raise broken(path, "it is missing")
            actual = sha256(path)
        except PermissionError as error:
            raise unreadable(path, error) from error
        except OSError as error:  # among others a name that is longer than any file's
            raise broken(folder / CARD, f"a file that it names: {error.strerror}") from error
        if actual != expected:
            raise broken(path, "its content is not what its card records")
    if checksum(card["files"]) != card["checksum"]:
        raise broken(folder / CARD, "its checksum does not match its file list")
