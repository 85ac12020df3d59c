"""Plug-in files: Python files of the user's that register tasks or algorithms when executed."""

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.errors import BenchError
from datasets.errors import DatasetError

_hashes: dict[str, str] = {}  # absolute path -> sha256 of what was executed


def load(path: str | Path) -> str:
    """Execute a plug-in file, once per process, and return the sha256 of its source.

    Raises BenchError with one sentence where the file is missing or cannot be executed.
    """
    path = Path(path).expanduser().absolute()
    if str(path) in _hashes:
        return _hashes[str(path)]
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BenchError(
            f"the plug-in {path} cannot be read ({error.strerror}): give the path of a Python file"
        ) from error
    name = f"om2p_bench_plugin_{digest[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchError(f"the plug-in {path} is no Python file: its name must end in .py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except DatasetError as error:
        del sys.modules[name]
        raise BenchError(f"the plug-in {path}: {error}") from error
    except Exception as error:  # whatever a user's file does wrong
        del sys.modules[name]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BenchError(f"the plug-in {path} raises {reason}") from error
    _hashes[str(path)] = digest
    return digest


def load_all(paths: Iterable[str | Path]) -> None:
    """Load plug-in files."""
    for path in paths:
        load(path)


def loaded() -> list[tuple[str, str]]:
    """Return path and sha256 of every plug-in file loaded, for workers to load the same."""
    return list(_hashes.items())


def load_expected(wanted: Iterable[Iterable[str]]) -> None:
    """Load what a launcher has loaded; BenchError where a file has changed since."""
    for path, digest in wanted:
        if load(path) != digest:
            raise BenchError(
                f"the plug-in {path} has changed since the study began: start the study again"
            )
