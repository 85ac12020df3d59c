"""The Ray launcher on a real cluster of this machine, started as docs/scaling.md says.

One cluster serves all tests of this file; every test is about what only a cluster can get wrong.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from bench.errors import BenchError
from bench.launchers import ray as launcher
from bench.plan import grid
from bench.results import store
from bench.study import study
from bench.study.progress import Quiet
from bench.training.runner import ExecutionOptions, run_cell

# Ray reads its settings when it is imported: the fixture sets some first.
if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)
ROOT = Path(__file__).parents[2]
Make = Callable[..., Any]
CLUSTER: dict[str, str] = {}  # the folder of the running one


@pytest.fixture(scope="module", autouse=True)
def quick_to_act() -> Iterator[None]:
    """Let clusters of this file not wait: for other processes here, or a minute for a lost head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
        yield


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster with two places for cells."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    CLUSTER["folder"] = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # socket paths are short
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        f"--port={port}", "--num-cpus=2", "--object-store-memory=100000000",
        "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={CLUSTER['folder']}",
    ]  # fmt: skip
    # The cluster takes orders from those who know its token only.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    head = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    family: list[psutil.Process] = []
    try:
        assert head.stdout is not None
        said = []
        for line in head.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("no cluster: " + "".join(said[-5:]))
        threading.Thread(target=head.stdout.read, daemon=True).start()
        yield f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(head.pid).children(recursive=True)
        head.terminate()
        _, left = psutil.wait_procs(family, timeout=60)
        for process in left:
            process.kill()
        head.wait(timeout=60)
        del os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]
        shutil.rmtree(CLUSTER.pop("folder"), ignore_errors=True)


class Recorder(Quiet):
    """Keeps what a study shows."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.seen: list[tuple[str, str]] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)

    def on_start(self, cell: Any) -> None:
        self.seen.append(("started", cell.id))

    def on_progress(self, cell: Any, progress: dict[str, Any]) -> None:
        super().on_progress(cell, progress)
        self.seen.append(("progress", cell.id))

    def on_evaluation(self, cell: Any, row: dict[str, Any]) -> None:
        self.seen.append(("evaluation", cell.id))

    def on_checkpoint(self, cell: Any, update: int) -> None:
        self.seen.append(("checkpoint", cell.id))

    def on_end(self, cell: Any, record: dict[str, Any]) -> None:
        super().on_end(cell, record)
        self.seen.append(("ended", cell.id))


def same_as_alone(outcome: study.Outcome, root: Path, folder: Path) -> None:
    """Hold every cell against one run in this process, bit by bit."""
    for cell in outcome.cells:
        alone = run_cell(cell, folder / cell.id, ExecutionOptions())
        assert store.read_run(root / cell.id)["results"] == alone["results"]
        assert outcome.records[cell.id]["results"] == alone["results"]
        files = [place / cell.id / "episodes.parquet" for place in (root, folder)]
        assert files[0].read_bytes() == files[1].read_bytes()


def ray_worker_of_a_cell() -> psutil.Process | None:
    """Return the Ray worker process that looks after a cell of this cluster right now."""
    for process in psutil.process_iter(["cmdline"]):
        if "bench.launchers.worker" in (process.info["cmdline"] or []):
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                parent = process.parent()
                raylet = None if parent is None else parent.parent()
                if parent is None or raylet is None or "ray::" not in parent.cmdline()[0]:
                    continue
                if any(CLUSTER["folder"] in part for part in raylet.cmdline()):
                    return parent
    return None


def kill_once_saved(
    root: Path, what: Callable[[psutil.Process], None], algorithm: str = ""
) -> threading.Thread:
    """In the background: wait for a checkpoint (of an algorithm), then do something to Ray."""

    def saved() -> bool:
        paths = root.glob("*/checkpoint.pt")  # cheap; to look at all processes is not
        return any(algorithm in (path.parent / "run.json").read_text() for path in paths)

    def wait() -> None:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            victim = ray_worker_of_a_cell() if saved() else None
            if victim is not None:
                what(victim)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def collector() -> psutil.Process | None:
    """Return the process of the actor that collects progress on this cluster."""
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith("ray::Mailbox"):
            with contextlib.suppress(psutil.NoSuchProcess):
                raylet = process.parent()
                if raylet is not None and any(
                    CLUSTER["folder"] in part for part in raylet.cmdline()
                ):
                    return process
    return None


@pytest.mark.usefixtures("faulty")
def test_faults_end_as_on_this_machine_and_progress_may_fail(
    address: str, make_config: Make
) -> None:
    """By Ray's memory monitor, say, the actor that collects progress is killed: it starts again."""
    config = make_config(
        {"run.updates": 100}, algorithms=("bad-slow", "bad-raise", "bad-segfault"), launcher="ray",
        address=address,
    )  # fmt: skip
    killed: list[int] = []

    def end(_: psutil.Process) -> None:
        process = collector()
        assert process is not None
        process.kill()
        killed.append(process.pid)

    interrupt = kill_once_saved(config.out, end, "bad-slow")
    outcome = study.run_study(config, Recorder())
    interrupt.join()
    assert killed
    errors = {c.algorithm: outcome.records[c.id] for c in outcome.cells}
    assert {name: record["status"] for name, record in errors.items()} == {
        "bad-slow": "done", "bad-raise": "failed", "bad-segfault": "failed",
    }  # fmt: skip
    assert "the plug-in divides" in errors["bad-raise"]["error"]
    assert "SIGSEGV" in errors["bad-segfault"]["error"]


def test_memory_that_ray_ran_out_of_is_a_status_of_its_own(
    make_config: Make, tmp_path: Path
) -> None:
    """Ray ended a task's worker: the cell says so, and the next run tries it again."""

    ray = pytest.importorskip("ray")

    def get(handle: Any) -> None:
        raise ray.exceptions.OutOfMemoryError("killed due to the node running low on memory")

    (cell,) = grid.cells(make_config())
    made: Any = object.__new__(launcher.RayLauncher)
    made.ray = SimpleNamespace(exceptions=ray.exceptions, get=get)
    made.root, made._moved, made.events = tmp_path, False, Recorder()
    made._started, made._cells = set(), {cell.id: cell}
    made._running = {"handle": launcher._Task([cell], False)}
    record = made._collect("handle", deque())[cell.id]
    assert (record["status"], record["lost"]) == ("out_of_memory", True)
    assert "Ray ended the worker for lack of memory" in str(record["error"])
    assert store.read_run(tmp_path / cell.id)["status"] == "out_of_memory"


def test_a_node_without_memory_ends_the_cells_and_not_the_study(tmp_path: Path) -> None:
    """Ray's own memory monitor finds the node full from the start: it ends whatever begins.

    That includes the actor that passes on progress, again and again: nothing may wait for it.
    """
    environment = os.environ | {
        "RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [
        sys.executable, "-m", "bench", "run", "--preset", "smoke", "--algos", "bc", "--seeds", "1",
        "--launcher", "ray", "--jobs", "1", "--out", str(tmp_path / "out"),
        "--data-dir", str(tmp_path / "data"), "--size", "2000",
    ]  # fmt: skip
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "out_of_memory" in ended.stdout
    assert "please report" not in ended.stdout + ended.stderr
    ((_, record),) = store.read_records(tmp_path / "out").items()
    assert (record.status, record.lost) == ("out_of_memory", True)


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("share", [True, False], ids=["shared folder", "sent back"])
def test_a_killed_worker_costs_nothing_but_time(
    address: str, make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: bool
) -> None:
    """The Ray worker of one cell is killed in the middle of it (with a shared folder, of two)."""
    monkeypatch.setattr(launcher.RayLauncher, "share", share)
    config = make_config(
        {"run.updates": 100, "run.evaluate_every": 100}, algorithms=("bad-slow",),
        seeds=(0, 1) if share else (0,),
        launcher="ray", address=address, memory_limit=1.0,
    )  # fmt: skip
    show = Recorder()
    killer = kill_once_saved(config.out, lambda victim: victim.send_signal(signal.SIGKILL))
    outcome = study.run_study(config, show)
    killer.join()
    assert outcome.complete, [record["error"] for record in outcome.records.values()]
    assert [note for note in show.notes if "it is tried again" in note]
    assert sum(record["interruptions"] for record in outcome.records.values()) == 1
    same_as_alone(outcome, config.out, tmp_path / "alone")
    for cell in outcome.cells:
        kinds = [kind for kind, name in show.seen if name == cell.id]
        assert kinds[0] == "started"
        assert kinds[-1] == "ended"
        assert {"progress", "evaluation", "checkpoint"} <= set(kinds)
    assert not list(config.out.glob(".shared-*"))
    assert not list(config.out.glob("*/.*.tmp"))
    assert len(store.read_results(config.out)) == len(outcome.cells)


@pytest.mark.usefixtures("faulty")
def test_ctrl_c_keeps_what_was_learnt_and_leaves_no_process(
    address: str, make_config: Make, tmp_path: Path
) -> None:
    config = make_config(
        {"run.updates": 200}, algorithms=("bad-slow",), launcher="ray", address=address
    )
    interrupt = kill_once_saved(config.out, lambda _: os.kill(os.getpid(), signal.SIGINT))
    outcome = study.run_study(config, Recorder())
    interrupt.join()
    assert outcome.interrupted
    (record,) = outcome.records.values()
    assert record["status"] == "queued"
    end = time.monotonic() + 300
    while ray_worker_of_a_cell() is not None and time.monotonic() < end:
        time.sleep(0.05)
    assert ray_worker_of_a_cell() is None
    (cell,) = outcome.cells
    assert run_cell(cell, config.out / cell.id, ExecutionOptions())["interruptions"] == 1


def test_what_no_node_can_give_is_refused(address: str, make_config: Make) -> None:
    for options, said in (({"memory_limit": 1e6}, "1e+06 GiB"), ({"threads": 64}, "CPU")):
        config = make_config(launcher="ray", address=address, **options)
        with pytest.raises(BenchError, match="no node of the Ray cluster offers") as caught:
            study.run_study(config, Quiet())
        assert said in str(caught.value)


def test_without_ray_or_a_cluster_the_cure_is_said(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BenchError, match="--address belongs to a Ray cluster"):
        study.run_study(make_config(address="127.0.0.1:1"), Quiet())
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchError, match=r"pip install 'om2p-bench\[ray\]'"):
        study.run_study(make_config(launcher="ray"), Quiet())


def test_a_node_with_other_code_is_refused(tmp_path: Path) -> None:
    from bench.launchers import ray_task

    with pytest.raises(BenchError, match="has another om2p-bench"):
        ray_task.run_task({"code": "of another version"}, None)


@pytest.mark.usefixtures("faulty")
def test_a_lost_node_is_one_sentence_and_the_cells_are_resumable(
    make_config: Make, tmp_path: Path
) -> None:
    """The raylet of a cluster of our own dies, as it does where its dashboard agent is killed."""
    config = make_config({"run.updates": 200}, algorithms=("bad-slow",), launcher="ray", jobs=1)

    def lose(worker: psutil.Process) -> None:
        raylet = worker.parent()
        assert raylet is not None
        assert "raylet" in raylet.name()
        raylet.kill()

    killed: list[int] = []

    def wait() -> None:
        end = time.monotonic() + 600
        while time.monotonic() < end and not killed:
            saved = any(config.out.glob("*/checkpoint.pt"))
            for process in psutil.Process().children(recursive=True) if saved else []:
                with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                    parent = process.parent()
                    if "bench.launchers.worker" in process.cmdline() and parent:
                        lose(parent)
                        killed.append(parent.pid)
                        return
            time.sleep(0.05)

    killer = threading.Thread(target=wait)
    killer.start()
    with pytest.raises(BenchError, match="the Ray cluster was lost") as caught:
        study.run_study(config, Recorder())
    killer.join()
    assert killed
    assert "\n" not in str(caught.value)
    (record,) = store.read_records(config.out).values()
    assert record.status in ("queued", "running")
    (cell,) = grid.cells(config)
    finished = run_cell(cell, config.out / cell.id, ExecutionOptions())
    assert finished["status"] == "done"
    alone = run_cell(cell, tmp_path / cell.id, ExecutionOptions())
    assert finished["results"] == alone["results"]
