"""The harness: from the flags of a run to its recorded results.

    import bench
    bench.run(bench.RunConfig(algorithms=("om2p",), seeds=(0,), preset="smoke"))

The four packages of the distribution (bench, algorithms, datasets, reports) have general names, so
importing this one first makes sure that its siblings are ours: another distribution that owns, say,
a top-level `datasets` would otherwise be used in silence.

May import `algorithms` and `datasets`; only `bench.cli` may import `reports`. Start with
`study.study`: it runs what `plan.grid` plans. docs/architecture.md shows all rooms.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

OM2P_BENCH = "om2p-bench"
SIBLINGS = ("algorithms", "datasets", "reports")

_LAZY = {
    "BenchError": "bench.errors",
    "Callback": "bench.study.callbacks",
    "RunConfig": "bench.plan.config",
    "Study": "bench.study.api",
    "StudyFailed": "bench.errors",
    "load_exported": "bench.policies.onnx_policy",
    "load_policy": "bench.policies.checkpointed",
    "open": "bench.study.api",
    "run": "bench.study.api",
    "sweep": "bench.plan.flags",
}


def sibling_problem(home: Path, siblings: tuple[str, ...] = SIBLINGS) -> str | None:
    """Return a sentence on the first sibling package that is not ours, without importing any.

    home: the folder in which bench lies. Another distribution of a sibling's name, such as Hugging
    Face's `datasets`, shares its folder with ours: whichever was installed last has overwritten
    files of the other, so both owners are named even where the files of today are ours.
    """
    for name in (*siblings, "bench"):
        owner = other_owner(home, name)
        if owner is not None:
            return (
                f"the package '{name}' belongs to two distributions here, om2p-bench and {owner}, "
                "and the one that was installed last has overwritten files of the other: "
                "give om2p-bench an environment of its own; to repair this one, uninstall both "
                "and install the one that you want"
            )
    for name in siblings:
        spec = importlib.util.find_spec(name)
        cure = f"run om2p-bench in an environment without another '{name}' package"
        if spec is None or spec.origin is None:
            return f"the package '{name}' does not lie beside bench in {home}: reinstall om2p-bench"
        origin = Path(spec.origin).resolve()
        if origin.parent.parent != home:
            if origin.parent.parent == Path.cwd().resolve():
                cure = "it lies in the working directory, so rename it or start elsewhere"
            return f"the package '{name}' is another one, from {origin.parent}: {cure}"
        if f'OM2P_BENCH = "{OM2P_BENCH}"' not in origin.read_text(encoding="utf-8"):
            return (
                f"the package '{name}' in {origin.parent} has been overwritten by another: {cure}"
            )
    return None


def other_owner(home: Path, name: str) -> str | None:
    """Return name and version of an installed distribution called like a package of ours."""
    for info in sorted(home.glob(f"{name}-*.dist-info")):
        return info.name.removesuffix(".dist-info").replace("-", " ", 1)
    return None


def _guard() -> None:
    """Stop with one sentence if a sibling package is foreign."""
    problem = sibling_problem(Path(__file__).resolve().parent.parent)
    if problem is None:
        return
    # `python -m bench` and `om2p-bench`: the command line shows sentences, no traceback.
    if sys.argv[:1] == ["-m"] or (sys.argv and Path(sys.argv[0]).name == OM2P_BENCH):
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(problem)


def __getattr__(name: str) -> Any:
    """Import the public functions on first use, so that `import bench` stays light."""
    if name == "__version__":
        from importlib.metadata import version

        return version(OM2P_BENCH)
    if name not in _LAZY:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    attribute = "open_study" if name == "open" else name
    return getattr(importlib.import_module(_LAZY[name]), attribute)


_guard()
