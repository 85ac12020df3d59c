"""The source of a plug-in: its file, and the modules of its own folder that it imports.

What a plug-in imports decides results as much as the plug-in itself, so all of it is hashed.
Imports are followed in the source, those inside functions too; modules that are loaded in another
way (by a computed name) are noted when a plug-in has been executed. Loads neither torch
nor numpy.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from datasets.paths import sha256

OURS = ("bench", "algorithms", "datasets", "reports")
INSTALLED = ("site-packages", "dist-packages")

_noted: dict[Path, set[Path]] = {}  # plug-in -> modules that its execution was seen to load


def module_name(digest: str) -> str:
    """Return the name under which a file of this digest is executed."""
    return f"om2p_bench_plugin_{digest[:12]}"


def digest(plugin: Path, root: Path | None = None) -> str:
    """Return one sha256 of a plug-in's file and modules: of the file alone where it has none."""
    modules = modules_of(plugin, root)
    if not modules:
        return sha256(plugin)
    text = "".join(f"{name} {value}\n" for name, value in modules.items())
    return hashlib.sha256(f"{sha256(plugin)}\n{text}".encode()).hexdigest()


def modules_of(plugin: Path, root: Path | None = None) -> dict[str, str]:
    """Return the sha256 of every module of its own folder that a plug-in imports, by name.

    root: the folder that names are looked up in (default: the plug-in's). In a folder of installed
    packages only modules of the plug-in's own package count.
    """
    plugin = plugin.absolute()
    root = plugin.parent if root is None else root.absolute()
    modules = _closure(plugin, root) | _noted.get(plugin, set())
    files = {path.relative_to(root).as_posix(): path for path in modules - {plugin}}
    return {name: sha256(files[name]) for name in sorted(files)}


def note_loaded(plugin: Path, before: Iterable[str]) -> bool:
    """Note the modules that an execution of a plug-in has loaded from its folder.

    before: names of the modules that were loaded earlier. Returns whether there is one that the
    source does not name.
    """
    plugin = plugin.absolute()
    known = _closure(plugin, plugin.parent) | _noted.get(plugin, set())
    new = {path for path, _ in loaded_from(plugin, before)} - known - {plugin}
    _noted.setdefault(plugin, set()).update(new)
    return bool(new)


def loaded_from(plugin: Path, before: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """Yield file and name of modules of a plug-in's folder that were not loaded ``before``."""
    root, earlier = plugin.absolute().parent, set(before)
    script = sys.modules.get("__main__")  # multiprocessing names it a second time
    for name, module in list(sys.modules.items()):
        path = _file_of(module)
        if name in earlier or path is None or name.partition(".")[0] in OURS or module is script:
            continue
        inside = path.is_relative_to(root) and not path.is_relative_to(Path(sys.prefix))
        if inside and not set(INSTALLED) & set(path.relative_to(root).parts):
            yield path, name


def _file_of(module: ModuleType) -> Path | None:
    name = getattr(module, "__file__", None)
    path = Path(name) if isinstance(name, str) else None
    return path if path is not None and path.is_absolute() and path.is_file() else None


def _closure(plugin: Path, root: Path) -> set[Path]:
    """Return the plug-in and every module below ``root`` that its source, or theirs, imports."""
    own = plugin.relative_to(root).parts[0].removesuffix(".py") if root.name in INSTALLED else None
    reached, waiting = {plugin}, [plugin]
    while waiting:
        path = waiting.pop()
        for name in _imports(path, root):
            top = name[0] if name else ""
            foreign = top in OURS or top in sys.stdlib_module_names or own not in (None, top)
            for module in [] if foreign else _located(root, name):
                if module not in reached:
                    reached.add(module)
                    waiting.append(module)
    return reached


def _imports(path: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """Yield the dotted names that a file's import statements may load, as tuples of words."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # executing it says what is wrong
    package = path.relative_to(root).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = (*above, *(node.module.split(".") if node.module else ()))
            yield base
            yield from ((*base, alias.name) for alias in node.names)


def _located(root: Path, name: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files below ``root`` that importing a dotted name executes."""
    place = root
    for word in name:
        module = place / f"{word}.py"
        place = place / word
        if (place / "__init__.py").is_file():
            yield place / "__init__.py"
        elif module.is_file():
            yield module
            return
        elif not place.is_dir():
            return
