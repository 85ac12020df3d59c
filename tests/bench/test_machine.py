"""The machine's description: what timings depend on, and no host name."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.meters import machine


def test_the_class_names_what_timings_depend_on_and_never_the_host() -> None:
    result = machine.describe("cpu")
    for part in (result["processor"], f"{result['cores']} cores", "no GPU", torch.__version__):
        assert part in result["machine_class"]
    assert f"python {platform.python_version()}" in result["machine_class"]
    assert f"{torch.get_num_threads()} threads" in result["machine_class"]
    node = platform.node()
    assert len(node) < 3 or node not in json.dumps(result.as_json())
    assert result["memory_bytes"] > 2**28
    assert 1 <= result["usable_cores"] <= result["cores"]


def test_threads_are_recorded_with_what_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    result = machine.describe("cpu")["thread_settings"]
    assert result["torch"] == torch.get_num_threads()
    assert result["OMP_NUM_THREADS"] == "3"
    assert result["MKL_NUM_THREADS"] is None
    assert result["float32_matmul_precision"] == "highest"


def test_what_set_torchs_allocator_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    assert machine.describe("cpu")["allocator_settings"] == {
        "PYTORCH_ALLOC_CONF": None, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"
    }  # fmt: skip


def test_without_a_gpu_its_state_is_null_with_the_reason() -> None:
    result = machine.describe("cpu")
    assert result["gpu"] is None
    assert result["gpu_driver"] is None
    assert result["gpu_reason"] == "no CUDA device in use"
    state = result["gpu_at_start"].as_json()
    assert state.pop("other_processes_reason") == "no CUDA device in use"
    assert set(state.values()) == {None}


def test_the_class_changes_with_gpu_and_threads() -> None:
    first = machine.machine_class(1, None, "torch", "2.13")
    assert "no GPU" in first
    assert "H100" in machine.machine_class(1, "H100", "torch", "2.13")
    assert first != machine.machine_class(77, None, "torch", "2.13")


def test_the_build_of_torch_is_known_without_importing_it() -> None:
    code = (
        "import sys; from bench.meters.machine import torch_build; "
        "print(*torch_build(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(torch.__version__), str(torch.version.cuda), "False"]


def test_versions_name_the_libraries_and_null_what_is_missing() -> None:
    result = machine.versions()
    # As pip knows it: wheels of PyPI leave the build ("+cu124") out.
    assert str(torch.__version__).startswith(result["torch"])
    assert result["python"] == platform.python_version()
    assert set(machine.LIBRARIES) <= set(result.as_json())


def test_the_commit_and_its_changes_are_seen(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    assert machine.revision(tmp_path) == (None, None)
    machine.revision.cache_clear()
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    clean = machine.revision(tmp_path)
    assert len(clean.commit or "") == 40
    assert clean.dirty is False
    machine.revision.cache_clear()
    (tmp_path / "file").write_text("two")
    assert machine.revision(tmp_path).dirty is True
