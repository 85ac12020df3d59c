"""Open HDF5 files of others: arrays that lie in the file itself, of a size that it can hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.errors import DatasetError
from datasets.formats.layout import check_numbers

MOST_UNPACKED = 1000  # times its file: what deflate can do at best


@contextmanager
def opened_file(path: Path, layout: str) -> Iterator[Any]:
    """Open a file for reading; whatever h5py raises meanwhile becomes one sentence.

    layout: the name of the layout that needs it, for the sentence where h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DatasetError(
            f"the {layout} layout needs h5py; install it with `pip install 'om2p-bench[formats]'`."
        ) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read as HDF5 ({error}); download it again."
        ) from error
    with file:
        yield file


@contextmanager
def damage_is_said(path: Path) -> Iterator[None]:
    """Turn what h5py raises for a damaged file, which is of many types, into one sentence."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(
            f"{path} is damaged ({type(error).__name__}: {error}); download it again."
        ) from error


def group_in(group: Any, key: str, name: str) -> Any:
    """Return the group ``key`` of a group; DatasetError where it is none or lies elsewhere."""
    import h5py

    link = group.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink) or not isinstance(group[key], h5py.Group):
        raise DatasetError(f"{name} is not a group inside the file; links are not followed.")
    return group[key]


def array_in(group: Any, key: str, name: str, path: Path) -> Any:
    """Return the array ``key`` of a group, unread; DatasetError where it lies elsewhere.

    A link could point to any file of the user. name: the array's, for the sentence.
    """
    import h5py

    link, array = group.get(key, getlink=True), None
    if isinstance(link, h5py.HardLink):
        array = group[key]
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise DatasetError(f"{name} is not an array inside the file; links are not followed.")
    check_numbers(name, array)
    if array.nbytes > MOST_UNPACKED * path.stat().st_size:
        raise DatasetError(
            f"{name} unpacks to {array.nbytes:,} bytes, over {MOST_UNPACKED} times the file: it is "
            "refused as made to exhaust memory."
        )
    return array
