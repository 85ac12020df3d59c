"""The version of a benchmark: a hash of its source and of what it uses from its own folder.

Comments, docstrings, formatting, ids of parameter sets and the benchmark's own name do not count,
so a renamed benchmark keeps its version.
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

PLAIN = (int, float, str, bool, bytes, type(None))


def version(
    function: Any, fixtures: Iterable[Any] = (), parameters: Mapping[str, object] | None = None
) -> str:
    """Return 12 hexadecimal digits for a benchmark, its fixtures and its parameters."""
    folder = Path(inspect.getfile(function)).resolve().parent
    parts = {"": _source(function).replace(f"def {function.__name__}(", "def _(", 1)}
    waiting = [*_used(function), *((f.__name__, f) for f in fixtures)]
    while waiting:
        name, value = waiting.pop()
        if name in parts:
            continue
        if _is_plain(value):
            parts[name] = repr(value)
        elif _lies_in(value, folder) and value is not function:
            parts[name] = _source(value)
            waiting += _used(value)
    for key, value in (parameters or {}).items():
        if _is_plain(value):
            parts[f"[{key}]"] = repr(value)
    text = "\n".join(f"{name}: {parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _source(value: Any) -> str:
    """Return the normalised source of a function or class, without docstrings and marks."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = [d for d in node.decorator_list if "mark." not in ast.unparse(d)]
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _used(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the globals that a function, or the methods of a class, use."""
    methods = [m for m in vars(value).values() if inspect.isfunction(m)] if _is_class(value) else []
    for function in methods or [inspect.unwrap(value)]:
        code = getattr(function, "__code__", None)
        if code is not None:
            known = function.__globals__
            yield from ((name, known[name]) for name in _names(code) if name in known)


def _names(code: CodeType) -> set[str]:
    """Return the names that a code object, and those nested in it, use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _is_class(value: Any) -> bool:
    return inspect.isclass(value)


def _is_plain(value: Any) -> bool:
    """Tell whether a value is a constant that its `repr` describes completely."""
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, [*value, *value.values()]))
    return isinstance(value, PLAIN)


def _lies_in(value: Any, folder: Path) -> bool:
    """Tell whether a function or class is defined in a file of `folder`."""
    if not (inspect.isfunction(value) or _is_class(value)):
        return False
    try:
        return Path(inspect.getfile(value)).resolve().parent == folder
    except (TypeError, OSError):
        return False
