"""Earlier names of modules, so that plug-ins which use them still work."""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

PARTS = (
    "critics denoising gaussian joint mean_flow networks optimiser samplers selection "
    "temporal_unet trunk"
)
MOVED = {f"algorithms.{name}": f"algorithms.parts.{name}" for name in PARTS.split()} | {
    "algorithms.settings_generative": "algorithms.settings"
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Fills a module of an earlier name with the contents of the present one."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to import an earlier name, None for any other."""
        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Copy every public name."""
        present = vars(importlib.import_module(MOVED[module.__name__]))
        vars(module).update({key: value for key, value in present.items() if key[0] != "_"})


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Make modules importable under their earlier names inside the block."""
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
