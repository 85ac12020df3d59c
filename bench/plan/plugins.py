"""Algorithms, tasks and perturbations from elsewhere: plug-in files and installed packages.

A plug-in file registers what it brings when it is executed, by `algorithms.register`. It is
executed once per process; one sha256 of it and of the modules of its own folder that it imports is
part of the identity of every cell of its algorithms (`datasets.plugin_source`). What installed
packages offer are entry points.
"""

import dataclasses
import importlib.metadata
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

import algorithms
import datasets
from bench.errors import BenchError
from bench.results.record import Plugin, Record
from datasets import plugin_source
from datasets.paths import expanded
from datasets.perturb.table import TABLE as PERTURBATIONS
from datasets.tasks import TASKS

GROUP = "om2p_bench.algorithms"
Table = MutableMapping[str, Any]  # to which a plug-in adds rows: each kind has its own

_hashes: dict[str, str] = {}  # absolute path of a plug-in -> sha256 of what was executed
_files: dict[str, Plugin] = {}  # by sha256
_state = {"discovered": False}


def load(path: str | Path) -> str:
    """Execute a plug-in file, once per process, and return the sha256 of its source and modules.

    Raises BenchError with one sentence where the file is missing, cannot be executed, or registers
    nothing. What a file registers before it fails is taken back.
    """
    path = expanded(path).absolute()
    if str(path) in _hashes:
        return _hashes[str(path)]
    try:
        source = path.read_bytes()
    except OSError as error:
        raise BenchError(
            f"the plug-in {path} cannot be read ({error.strerror}): give the path of a Python file"
        ) from error
    digest = _execute(path, source)
    _hashes[str(path)], _files[digest] = digest, _described(path, digest)
    return digest


def _described(path: Path, digest: str, root: Path | None = None) -> Plugin:
    """Return what records say of a plug-in."""
    modules = plugin_source.modules_of(path, root)
    return Plugin(file=path.name, sha256=digest, modules=modules or None)


def load_all(paths: Iterable[str | Path]) -> None:
    """Load what installed packages offer, then plug-in files."""
    discover()
    for path in paths:
        load(path)


def loaded() -> list[tuple[str, str]]:
    """Return path and sha256 of every plug-in file loaded, for workers to load the same."""
    return list(_hashes.items())


def load_expected(wanted: Iterable[Iterable[str]]) -> None:
    """Load what a launcher has loaded; BenchError where a file has changed since."""
    discover()
    for path, digest in wanted:
        if load(path) != digest:
            raise BenchError(
                f"the plug-in {path}, or a module that it imports, has changed since the study "
                "began: start the study again"
            )


def of(name: str) -> Plugin | None:
    """Return what records say of the plug-in that an algorithm comes from, None for ours."""
    digest = algorithms.row(name).plugin
    return None if digest is None else _files[digest]


def require(record: Record) -> None:
    """Refuse a record whose algorithm came from a plug-in that is not loaded, or from another."""
    needed, name = record.algorithm.plugin, record.algorithm.name
    present = of(name) if name in algorithms.names() else None
    if needed is None and present is None:
        return
    if needed is None:
        raise BenchError(f"cell {record.cell} is not of the plug-in that now provides {name}")
    if present is None:
        raise BenchError(
            f"cell {record.cell} was trained by {name} of the plug-in {needed.file}: give "
            "that file with --plugin"
        )
    if present.sha256 != needed.sha256:
        raise BenchError(
            f"cell {record.cell} was trained by another version of the plug-in "
            f"{needed.file}: its sha256 begins with {needed.sha256[:12]}{changed(needed, present)}"
        )


def changed(recorded: Plugin, present: Plugin) -> str:
    """Say which files of a plug-in are not those of a record, as the end of a clause."""
    then, now = recorded.modules or {}, present.modules or {}
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    if not names:
        return f" ({recorded.file} has changed)"
    return f" ({', '.join(names)} {'has' if len(names) == 1 else 'have'} changed)"


def discover() -> None:
    """Import what installed packages offer as entry points of the group `om2p_bench.algorithms`.

    A package that cannot be imported is named in a warning: it must not stop other work.
    """
    if _state["discovered"]:
        return
    _state["discovered"] = True
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            _import(entry)
        except Exception as error:  # whatever an installed package does wrong
            text = f"the entry point {entry.name} = {entry.value} is left out: {_one_line(error)}"
            warnings.warn(text, stacklevel=2)


def _import(entry: importlib.metadata.EntryPoint) -> None:
    """Import the module of an entry point and mark what it registers with its source's hash."""
    spec = importlib.util.find_spec(entry.module)
    if spec is None or spec.origin is None:
        raise BenchError(f"there is no module {entry.module}")
    origin = Path(spec.origin)
    root = origin.parents[entry.module.count(".") + (origin.name == "__init__.py")]
    digest = plugin_source.digest(origin, root)
    _files[digest] = _described(origin, digest, root)
    before = _names()
    with algorithms.registering(digest):
        entry.load()
    if _names() == before:
        raise BenchError(f"{entry.module} registers nothing: call algorithms.register in it")


def _execute(path: Path, source: bytes) -> str:
    """Execute a plug-in's source as a module of its own name; return its digest.

    A module that only the execution showed changes the digest, under which everything is
    registered: the source is then executed once more.
    """
    digest, before = plugin_source.digest(path), list(sys.modules)
    tables: tuple[Table, ...] = (algorithms.TABLE, TASKS, PERTURBATIONS)
    copies: list[Table] = [dict(table) for table in tables]
    try:
        _execute_as(path, source, digest)
        if plugin_source.note_loaded(path, before):
            _take_back(tables, copies)
            digest = plugin_source.digest(path)
            _execute_as(path, source, digest)
    except BaseException:
        _take_back(tables, copies)
        for _, name in list(plugin_source.loaded_from(path, before)):
            sys.modules.pop(name, None)
        raise
    return digest


def _take_back(tables: tuple[Table, ...], copies: list[Table]) -> None:
    """Make tables what they were before a plug-in was executed."""
    for table, old in zip(tables, copies, strict=True):
        table.clear()
        table.update(old)


def _execute_as(path: Path, source: bytes, digest: str) -> None:
    """Execute a plug-in's source; what it registers is marked with the digest."""
    name = plugin_source.module_name(digest)
    module = ModuleType(name)
    module.__file__ = str(path)
    before = _names()
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        with algorithms.registering(digest):
            exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, algorithms.AlgorithmError | datasets.DatasetError):
            raise BenchError(f"the plug-in {path}: {error}") from error
        if isinstance(error, Exception | SystemExit):
            where = _line_of(error, str(path))
            raise BenchError(f"the plug-in {path} raises {_one_line(error)}{where}") from error
        raise
    if _names() == before:
        del sys.modules[name]
        raise BenchError(
            f"the plug-in {path} registers nothing: call algorithms.register at its end, as "
            "algorithms/template.py does"
        )
    for key, row in PERTURBATIONS.items():
        if key not in before:
            PERTURBATIONS[key] = dataclasses.replace(row, plugin=digest)


def _names() -> set[str]:
    """Return everything that a plug-in could have added to."""
    return {*algorithms.names(), *datasets.task_ids(), *PERTURBATIONS}


def _one_line(error: BaseException) -> str:
    """Return an exception as part of a sentence."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line_of(error: BaseException, path: str) -> str:
    """Return the deepest line of a plug-in on an exception's way, as the end of a sentence."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f" (line {lines[-1]})" if lines else ""
