"""Record which source each algorithm's version stands for: `python -m tests.algorithms.versions`.

An algorithm's version is part of every result's identity and must be raised when its mathematics
changes. The hash covers its own module and every module of ours that it imports, without comments
and docstrings. After a change that leaves the numbers alone, record the new hashes; after one that
does not, raise the version in `algorithms.TABLE` first.
"""

import ast
import hashlib
import json
from pathlib import Path

import algorithms

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("versions.json")
# Settings are part of every identity; tests compare the C library with torch.
LEFT_OUT = ("algorithms.settings", "algorithms.kernels")


def _own_imports(tree: ast.AST) -> set[str]:
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            modules |= {name for name in names if name.startswith(("algorithms.", "datasets."))}
    return modules


def _without_docstrings(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = body[1:]  # type: ignore[attr-defined]
    return ast.dump(tree)


def source_hash(name: str) -> str:
    """Return the hash of everything of ours that an algorithm's numbers come from."""
    todo, done = [algorithms.row(name).target.partition(":")[0]], {}
    while todo:
        module = todo.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if module in done or not path.is_file() or module.startswith(LEFT_OUT):
            continue
        tree = ast.parse(path.read_text())
        todo += sorted(_own_imports(tree))
        done[module] = _without_docstrings(tree)
    text = json.dumps([done, dict(algorithms.row(name).switches)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def present(name: str) -> dict[str, object]:
    """Return version and hash of an algorithm in the present tree."""
    return {"version": algorithms.row(name).version, "source": source_hash(name)}


if __name__ == "__main__":
    RECORD.write_text(
        json.dumps({name: present(name) for name in algorithms.names()}, indent=1) + "\n"
    )
    print(f"recorded {len(algorithms.names())} algorithms in {RECORD}")
