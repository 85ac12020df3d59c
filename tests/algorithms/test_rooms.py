"""The rooms of `algorithms`, and the order in which every algorithm states its methods."""

import ast
import inspect
from pathlib import Path

import pytest

import algorithms
from algorithms.base import Algorithm

ROOT = Path(algorithms.__file__).parent
MOST_MODULES, MOST_LINES = 12, 60
# Files that other algorithms build on.
FAMILIES = ("actor_critic", "planner", "diffusion_ql", "cql", "td3bc", "iql")
LAYERS = (  # a module imports from the rooms before its own
    ("errors",),
    ("settings",),
    ("kernels",),
    ("parts",),
    ("base",),
    ("methods",),
    ("moved", "table"),
    ("registry",),
    ("template",),
    ("device",),
    ("contract",),
)
ORDER = (
    "__init__",
    "trained_networks",
    "acting_parameters",
    "losses",
    "phase",
    "resting",
    "before_step",
    "after_update",
    "act_from",
    "act",
)


def files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT / "__pycache__")


def layer(module: str) -> int:
    """Return the place of algorithms.X or algorithms.X.Y in LAYERS, where methods have no row."""
    room = module.split(".")[1]
    places = {name: index for index, names in enumerate(LAYERS) for name in names}
    return places.get(room, places["methods"])


def imported(path: Path) -> set[str]:
    """Return the modules of `algorithms` that a file imports when it runs."""
    modules: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "algorithms":
                names = (alias.name for alias in node.names)
                modules |= {
                    f"algorithms.{n}" for n in names if (ROOT / n).with_suffix(".py").exists()
                }
            elif node.module.startswith("algorithms."):
                modules.add(node.module)
        waiting += ast.iter_child_nodes(node)
    return modules


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_import_from_rooms_before_their_own(path: Path) -> None:
    own = ".".join(("algorithms", *path.relative_to(ROOT).with_suffix("").parts))
    if own == "algorithms.__init__":
        return
    for module in imported(path) - {own}:
        if layer(own) == layer(module) == layer("algorithms.bc"):
            assert module.split(".")[1] in FAMILIES, f"{own} imports another algorithm, {module}"
        elif module.split(".")[1] != own.split(".")[1]:
            assert layer(module) < layer(own), f"{own} imports {module}"


def test_rooms_hold_at_most_twelve_modules_and_say_what_belongs_there() -> None:
    rooms = [path for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    assert {room.name for room in rooms} == {"contract", "device", "kernels", "parts", "settings"}
    for room in rooms:
        modules = [path for path in room.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MOST_MODULES, room.name
        source = (room / "__init__.py").read_text()
        text = " ".join((ast.get_docstring(ast.parse(source)) or "").split())
        assert "ay import" in text, f"{room.name} says what it may import"
        assert "Start with" in text, f"{room.name} says where to start"


def test_functions_are_short() -> None:
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                length = node.end_lineno - node.lineno + 1
                assert length <= MOST_LINES, f"{path.name}: {node.name} has {length} lines"


def targets() -> list[type[Algorithm]]:
    kinds = {algorithms.resolve(name, algorithms.row(name).target) for name in algorithms.names()}
    return sorted(kinds, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", targets(), ids=lambda kind: kind.__name__)
def test_algorithms_state_their_methods_in_one_order(kind: type[Algorithm]) -> None:
    """Two files side by side read like two columns of a table."""
    for one in kind.__mro__:
        if not issubclass(one, Algorithm) or one is Algorithm:
            continue
        stated = [name for name in vars(one) if name in ORDER]
        assert stated == sorted(stated, key=ORDER.index), one.__name__
        if "losses" in stated:
            lines = {name: inspect.getsourcelines(vars(one)[name])[1] for name in stated}
            private = [n for n, v in vars(one).items() if inspect.isfunction(v) and n[:1] == "_"]
            helpers = [inspect.getsourcelines(vars(one)[n])[1] for n in private if n not in ORDER]
            assert all(line > lines["losses"] for line in helpers), "helpers follow the loss"
