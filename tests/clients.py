"""Which libraries of others are installed; a job of the workflow requires all of them."""

import importlib
import importlib.util
import os
import shutil
import subprocess
from typing import Any

import pytest

REQUIRED = "OM2P_BENCH_CLIENTS"  # set: what is not installed fails instead of being skipped


def needs(*modules: str) -> Any:
    """Skip the test where one of the modules is not installed; return the last, imported."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            missing(f"{name} is not installed")
    return importlib.import_module(modules[-1])


def needs_node(package: str) -> None:
    """Skip the test where Node.js does not find a package (NODE_PATH)."""
    node = shutil.which("node")
    if node is None:
        missing("node is not installed")
    code = f"require.resolve({package!r})"
    if subprocess.run([str(node), "-e", code], capture_output=True, check=False).returncode:
        missing(f"{package} is not installed where node looks: set NODE_PATH")


def missing(reason: str) -> None:
    """Skip, or fail where everything must be there."""
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)
