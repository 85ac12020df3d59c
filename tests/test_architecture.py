"""The architecture: which package may import which, and that importing stays cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("algorithms", "bench", "datasets", "reports")
ALLOWED = {
    "algorithms": {"algorithms", "datasets.batch"},
    "datasets": {"datasets", "algorithms.parts.networks", "algorithms.device.cuda"},
    "bench": {
        "bench",
        "algorithms",
        "datasets",
        "reports",
    },  # reports: by the command line and bench.study.api
    "reports": {"reports", "bench", "algorithms"},
}
FORBIDDEN = {"reports": {"torch"}, "algorithms": {"numpy", "time", "pathlib", "os", "pettingzoo"}}
FILES = {"pathlib", "os"}  # where a library is built and loaded


def imports(path: Path) -> set[str]:
    """Return every module that a file imports anywhere, lazily or not."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module in PACKAGES:  # from bench import store
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                imported.add(node.module)
    return imported


def run_python(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def within(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_table(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for module in imports(path):
            if module.split(".")[0] in PACKAGES:
                assert within(module, ALLOWED[package]), f"{path} imports {module}"
            forbidden = FORBIDDEN.get(package, set())
            if path.parent == ROOT / "algorithms" / "kernels":
                forbidden = forbidden - FILES
            assert not within(module, forbidden), f"{path} imports {module}"


def test_reports_read_results_through_the_store_only() -> None:
    """Of bench, reports use what reads a results folder; of algorithms, only the names."""
    allowed = {"algorithms", "bench.errors", "bench.outside", "bench.results"}
    for path in (ROOT / "reports").rglob("*.py"):
        for module in imports(path):
            if module.split(".")[0] in ("bench", "algorithms", "datasets"):
                assert within(module, allowed), f"{path} imports {module}"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_carry_the_marker(package: str) -> None:
    """The sibling guard recognises our packages by it."""
    assert 'OM2P_BENCH = "om2p-bench"' in (ROOT / package / "__init__.py").read_text()


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    code = (
        f"import sys, {package}\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'pydantic', 'scipy'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    run_python(code)


def test_reports_never_load_torch() -> None:
    files = sorted((ROOT / "reports").rglob("[a-z]*.py"))
    names = [".".join(path.relative_to(ROOT / "reports").with_suffix("").parts) for path in files]
    code = (
        "import importlib, sys\n"
        f"[importlib.import_module(f'reports.{{name}}') for name in {names}]\n"
        "sys.exit('torch' in sys.modules)"
    )
    run_python(code)


# Rooms from the lowest up: a room imports rooms named before it, never one named after it.
LAYERS = {
    "bench": (
        "errors", "outside", "results", "meters", "plan", "training", "launchers", "study",
        "policies", "rendering", "tracks", "gate", "doctor", "diagnose", "cli",
    ),
    "datasets": (
        "errors", "paths", "plugin_source", "batch", "references", "actors", "drawing",
        "environments", "tasks", "adapters", "protocol", "rollout", "perturb", "views", "replay",
        "recorded", "sources", "formats", "recipes", "behaviour", "loading", "measurement",
    ),
    "reports": (
        "options", "style", "processes", "reading", "captions", "findings", "drawing", "tables",
        "figures", "page", "build", "site",
    ),
}  # fmt: skip


def room_of(module: str) -> tuple[str, str]:
    """Return the package and the room of a module: ("bench", "plan") for bench.plan.grid."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0]


@pytest.mark.parametrize("package", LAYERS)
def test_rooms_import_downwards(package: str) -> None:
    layers = LAYERS[package]
    rooms = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py"}
    rooms |= {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert rooms - {"__init__", "__main__"} == set(layers), "every room has a place in LAYERS"
    for path in (ROOT / package).rglob("*.py"):
        importer = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if importer.partition(".")[2] in ("__init__", "__main__"):
            continue  # the package's own `__init__`
        for module in imports(path):
            if room_of(module)[0] != package or not room_of(module)[1]:
                continue
            own, other = (layers.index(room_of(one)[1]) for one in (importer, module))
            assert other <= own, f"{importer} imports {module}, whose room lies above its own"


def test_only_the_command_line_and_the_python_interface_import_reports() -> None:
    interface = ROOT / "bench" / "study" / "api.py"
    for path in (ROOT / "bench").rglob("*.py"):
        if path.parent.name != "cli" and path != interface:
            assert not any(within(module, {"reports"}) for module in imports(path)), path


def test_recorded_results_are_read_without_torch() -> None:
    """What `reports` may import of bench loads no torch, wherever it is imported."""
    names = sorted(path.stem for path in (ROOT / "bench" / "results").glob("[a-z]*.py"))
    code = (
        "import importlib, sys\n"
        f"[importlib.import_module(f'bench.results.{{name}}') for name in {names}]\n"
        "sys.exit('torch' in sys.modules)"
    )
    run_python(code)


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_graph() -> dict[str, set[str]]:
    """Return which module of ours imports which, anywhere: lazily and for type checkers too.

    What a package's ``__init__`` imports from its own package is left out: those imports are lazy
    and only pass names on.
    """
    files = {_module(path): path for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    targets.add(submodule if submodule in files else node.module)
        lazy = f"{module}." if path.name == "__init__.py" else None
        graph[module] = {
            name
            for name in targets & files.keys() - {module}
            if lazy is None or not name.startswith(lazy)
        }
    return graph


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that import each other, directly or through others."""
    reached: dict[str, set[str]] = {}
    for start, targets in graph.items():
        seen: set[str] = set()
        waiting = list(targets)
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += graph[module]
        reached[start] = seen
    loops: list[set[str]] = []
    for module, seen in reached.items():
        if module in seen and not any(module in loop for loop in loops):
            loops.append({other for other in seen if module in reached[other]})
    return loops


def test_no_modules_import_each_other() -> None:
    loops = [sorted(one) for one in cycles(module_graph())]
    assert not loops, f"import cycles: {loops}"


def test_cycles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e", "a"}}
    assert cycles(graph) == [{"b", "c"}, {"e"}]


MOST_MODULES, MOST_LINES = 12, 60
ONE_FILE_PER_METHOD = ROOT / "algorithms"  # its top level grows with the field
FAMILIES = {"data", "diagnose", "flags", "gate", "measure", "results", "run"}  # of bench/cli


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_hold_at_most_twelve_modules(package: str) -> None:
    for folder in (ROOT / package, *(ROOT / package).rglob("*/")):
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        if folder != ONE_FILE_PER_METHOD:
            assert len(modules) <= MOST_MODULES, f"{folder} holds {sorted(modules)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_what_belongs_in_it(package: str) -> None:
    """Its docstring also says what the room may import and where to start reading."""
    for path in (ROOT / package).rglob("__init__.py"):
        text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
        assert len(text.split()) >= 25, f"{path} does not say what belongs in its folder"
        assert re.search(r"\b[Mm]ay import\b", text), f"{path} does not say what may be imported"
        start = re.search(r"Start with `([\w.]+)`", text)
        assert start, f"{path} does not say where to start reading"
        first = path.parent / start[1].replace(".", "/")
        assert first.with_suffix(".py").exists() or (path.parent / start[1]).exists(), (
            f"{path} names {start[1]}, which its folder does not hold"
        )


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package: str) -> None:
    """At most 60 lines; of a command of the command line the signature does not count."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = node.body[0] if path.parent.name == "cli" else node
                assert node.end_lineno is not None
                length = node.end_lineno - start.lineno + 1
                assert length <= MOST_LINES, f"{path}: {node.name} has {length} lines"


def test_modules_of_bench_have_names_of_their_own() -> None:
    """Only a family of commands may be called as what it calls."""
    seen: dict[str, Path] = {}
    for path in sorted((ROOT / "bench").rglob("*.py"), key=lambda path: path.parent.name == "cli"):
        if path.stem.startswith("__"):
            continue
        taken = path.stem in seen and not (path.parent.name == "cli" and path.stem in FAMILIES)
        assert not taken, f"{path} and {seen.get(path.stem)}"
        seen[path.stem] = path


OPEN = {"outside.py"}  # of bench: where mappings of names to anything have their names
REGISTRY = "Table = MutableMapping[str, Any]  #"  # of plug-ins, in bench.plan.plugins
LITERAL = re.compile(r"\b(dict|Dict|Mapping|MutableMapping)\[str, Any\]")


def test_open_mappings_have_names() -> None:
    """What comes from outside is open; what our parts hand to each other states its fields."""
    for package in ("bench", "reports"):
        for path in (ROOT / package).rglob("*.py"):
            if path.parent == ROOT / "bench" and path.name in OPEN:
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                assert not LITERAL.search(line) or line.startswith(REGISTRY), (
                    f"{path}, line {number}: use a name of bench.outside for what comes from "
                    "outside, and a dataclass or a TypedDict for the rest"
                )


def test_every_open_mapping_is_explained_and_used() -> None:
    lines = (ROOT / "bench" / "outside.py").read_text(encoding="utf-8").splitlines()
    others = "\n".join(
        path.read_text(encoding="utf-8")
        for package in ("bench", "reports")
        for path in (ROOT / package).rglob("*.py")
        if path.name not in OPEN
    )
    names = [line.partition(" = ")[0] for line in lines if LITERAL.search(line)]
    assert names, "bench.outside holds the names"
    for name in names:
        at = lines.index(f"{name} = dict[str, Any]")
        assert lines[at - 1].startswith("# "), f"nothing explains {name}"
        assert re.search(rf"\b{name}\b", others), f"nothing uses {name}"


def test_the_longest_test_files_are_there() -> None:
    """One that was renamed would begin last."""
    here = {"/".join(path.parts[-2:]) for path in Path(__file__).parent.rglob("test_*.py")}
    assert set(LONGEST) <= here
