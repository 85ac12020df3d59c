"""A checkout of an official repository: its modules, without their names getting into our way."""

import hashlib
import importlib
import importlib.util
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.errors import DatasetError


class Checkout:
    """A folder that holds a repository; ``commit`` is None where git does not say."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser().resolve()
        if not self.folder.is_dir():
            raise DatasetError(f"{folder} is no folder; --code names a checkout of the repository.")
        self.commit = self._git("rev-parse", "HEAD")
        self.files: list[Path] = []  # what was loaded
        self._modules: dict[str, types.ModuleType] = {}  # the same

    def load(self, name: str, absent: Sequence[str] = ()) -> types.ModuleType:
        """Import a module of the repository by its name.

        absent: packages that the module imports and that nothing here calls, such as a simulator;
        those that are not installed are replaced by empty ones.
        """
        with self._first_on_the_path(), _replaced(absent):
            try:
                module = importlib.import_module(name)
            except ModuleNotFoundError as error:
                raise DatasetError(
                    f"{self.folder} has no module {name}, or needs a package that is missing "
                    f"({error}): check out the repository that pairs.toml names."
                ) from error
            self._note(sys.modules.values())
        return module

    def load_file(self, path: str, absent: Sequence[str] = ()) -> types.ModuleType:
        """Import a single file of the repository that uses no other; absent: as in `load`."""
        file = self.folder / path
        if not file.is_file():
            raise DatasetError(
                f"{self.folder} has no file {path}: check out the repository that pairs.toml names."
            )
        name = f"official_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        with _replaced(absent):
            spec.loader.exec_module(module)
        self._note([module])
        return module

    @property
    def changed(self) -> bool | None:
        """Tell whether a loaded file differs from the commit, None where git does not say."""
        if self.commit is None:
            return None
        names = [str(path.relative_to(self.folder)) for path in self.files]
        return self._git("status", "--porcelain", "--untracked-files=all", "--", *names) != ""

    @property
    def digest(self) -> str:
        """Return 12 digits of the sha256 of all loaded files, in the order of their names."""
        total = hashlib.sha256()
        for path in sorted(self.files):
            total.update(path.read_bytes())
        return total.hexdigest()[:12]

    def _note(self, modules: Any) -> None:
        for module in list(modules):
            path = getattr(module, "__file__", None)
            if path is not None and Path(path).resolve().is_relative_to(self.folder):
                self.files = sorted({*self.files, Path(path).resolve()})

    def _git(self, *arguments: str) -> str | None:
        if not (self.folder / ".git").exists():
            return None
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    @contextmanager
    def _first_on_the_path(self) -> Iterator[None]:
        """Let the repository's packages be imported in place of ours of the same name.

        Afterwards ours are back: OMAR's code has a package `algorithms` too.
        """
        own = {path.stem for path in self.folder.iterdir() if path.suffix in ("", ".py")}

        def taken_out() -> dict[str, types.ModuleType]:
            names = [name for name in sys.modules if name.partition(".")[0] in own]
            return {name: sys.modules.pop(name) for name in names}

        before = taken_out()
        sys.modules.update(self._modules)
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            self._modules = taken_out()
            sys.modules.update(before)


class _Empty(types.ModuleType):
    """A module in which every name is a function that returns itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def nothing(*arguments: Any, **named: Any) -> Any:
            return nothing

        return nothing


@contextmanager
def _replaced(names: Sequence[str]) -> Iterator[None]:
    """Put empty modules in the place of those of ``names`` that are not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    sys.modules.update({name: _Empty(name) for name in missing})
    try:
        yield
    finally:
        for name in missing:
            sys.modules.pop(name, None)


@contextmanager
def old_torch_without_cuda() -> Iterator[None]:
    """Make code stay on the CPU that moves everything to a GPU, and run on today's torch.

    `view` copies where it has to: older versions of `clamp` returned contiguous tensors. The
    parameters of distributions are not checked: OMAR's search may end with a deviation of zero.
    """
    import torch
    from torch.distributions import Distribution

    view = torch.Tensor.view

    def stay(self: Any, *arguments: Any, **named: Any) -> Any:
        return self

    def viewed(self: Any, *shape: Any) -> Any:
        return view(self if self.is_contiguous() else self.contiguous(), *shape)

    places: tuple[tuple[Any, str, Any], ...] = (
        (torch.cuda, "FloatTensor", torch.FloatTensor),
        (torch.Tensor, "cuda", stay),
        (torch.Tensor, "view", viewed),
        (Distribution, "_validate_args", False),
    )
    before = [getattr(owner, name) for owner, name, _ in places]
    for owner, name, value in places:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(places, before, strict=True):
            setattr(owner, name, value)


HE = 6**0.5  # times torch's own bound, 1 / sqrt(inputs): the law of He et al. (2015)


@contextmanager
def layers(
    module: types.ModuleType,
    widths: dict[int, int] | None = None,
    outputs: int = 0,
    he: bool = False,
) -> Iterator[None]:
    """Build other layers where a repository has them written into the code.

    widths: {256: 128} makes every input or output of 256 of ``module``'s `nn.Linear` one of 128.
    he: the weights of layers with more than ``outputs`` outputs start as large as ours do.
    """
    new = widths or {}

    class Changed:
        def __init__(self, nn: Any) -> None:
            self._nn = nn

        def __getattr__(self, name: str) -> Any:
            return getattr(self._nn, name)

        def Linear(self, inputs: int, outside: int, *rest: Any) -> Any:
            layer = self._nn.Linear(new.get(inputs, inputs), new.get(outside, outside), *rest)
            if he and outside > outputs:
                layer.weight.data.mul_(HE)
            return layer

    before = module.nn
    module.nn = Changed(before)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.nn = before  # type: ignore[attr-defined]
