"""The efficiency track: what is timed, continued files, and the whole command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli import app
from bench.errors import BenchError
from bench.results import locks
from bench.tracks.efficiency import document, rounds, tables, timing
from bench.tracks.efficiency.document import read
from bench.tracks.efficiency.request import Request
from bench.tracks.efficiency.sizes import Size
from tests.bench.efficiency_examples import (
    OBSERVATION,
    request,
    sample,
    subject,
)

ROOT = Path(__file__).parents[2]


def test_warming_up_leaves_no_trace() -> None:
    """Parameters, optimiser and generators equal those after as many updates without it."""
    timed, plain = subject("om2p"), subject("om2p")
    (result,) = timing.updates(timed.learners(), timed.synchronise, 0.02)
    taken = 1 + result["count"] * len(result["cpu"])
    for _ in range(taken):
        plain.algorithm.update(plain.batch)
    assert timed.algorithm.updates == taken
    for mine, theirs in zip(
        timed.algorithm.parameters(), plain.algorithm.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert all(0 < cpu < 10 for cpu in result["cpu"])


def test_times_are_those_of_one_update_and_one_action(monkeypatch: pytest.MonkeyPatch) -> None:
    """With clocks of 2 and 3 seconds per update: a block is divided by its updates."""
    one, now = subject("bc"), {"wall": 0.0, "cpu": 0.0}
    real = one.algorithm.update

    def update(batch: Any) -> Any:
        now["wall"] += 2.0
        now["cpu"] += 3.0
        return real(batch)

    monkeypatch.setattr(one.algorithm, "update", update)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(timing.time, "process_time", lambda: now["cpu"])
    (result,) = timing.updates(one.learners(), one.synchronise, 100.0)
    assert result["count"] * len(result["wall"]) == 40
    assert set(result["wall"]) == {2.0}
    assert set(result["cpu"]) == {3.0}


def test_variants_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock of 2 seconds per update: 20 blocks of 2 updates of each."""
    variants = (("torch", 1), ("torch", 3), ("c", 1), ("c", 3))
    one, order, now = subject("bc", variants=variants), [], [0.0]
    learners = one.learners()
    for at, (algorithm, batch) in enumerate(learners):
        seeds = variants[at][1]
        assert algorithm.num_replicas == seeds
        assert len(batch.action) == 3 * seeds

        def update(batch: Any, real: Any = algorithm.update, at: int = at) -> Any:
            order.append(at)
            now[0] += 2.0
            return real(batch)

        monkeypatch.setattr(algorithm, "update", update)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.time, "process_time", lambda: now[0])
    samples = timing.updates(learners, one.synchronise, 100.0)
    assert order[-160:] == [0, 0, 1, 1, 2, 2, 3, 3] * 20
    assert [sample["count"] for sample in samples] == [2] * 4
    assert all(sample["cpu"] == [2.0] * 20 for sample in samples)


@pytest.mark.parametrize("name", ["om2p", "madiff-c"])
def test_actions_are_timed_one_by_one_and_a_thousand_at_once(name: str) -> None:
    one = subject(name, Size(3, 8, (8, 8)))
    if name == "om2p":
        assert len(timing.latency(one, 0.01)) >= timing.FEWEST_ACTIONS
        assert len(timing.throughput(one, 0.5)) >= timing.FEWEST_BLOCKS
    assert one.batch.observation.shape[:2] == (3, max(1, 8 // 2 if name == "madiff-c" else 8))
    assert one.present.shape[-1] == OBSERVATION
    assert one.observation(1).shape == (3, 1, OBSERVATION)


def test_the_rate_of_the_reference_product_is_plausible() -> None:
    rates = timing.calibration("cpu")
    assert len(rates) == 5
    assert all(1e8 < rate < 1e14 for rate in rates)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[rounds.Job]:
    """Replace processes by made-up answers; return the list of started jobs."""
    started: list[rounds.Job] = []

    def start(asked: Request, job: rounds.Job) -> dict[str, Any]:
        started.append(job)
        if job.round == 0:
            return {"peak_tensor_bytes": 1000}
        state = {"throttling": None}
        machine = {"machine_class": "a machine", "gpu_at_start": state, "gpu_at_end": state}
        answer = sample(job.round, 1e-3) | {"machine": machine}
        del answer["round"], answer["throttling"]
        return answer

    monkeypatch.setattr(rounds, "_start", start)
    return started


def test_rounds_are_interleaved_each_in_an_order_of_its_own(
    processes: list[rounds.Job], tmp_path: Path
) -> None:
    asked = request("bc,om2p,dom2", rounds=6, hidden="8x2,16x2")
    made = rounds.run(asked, tmp_path / "m.json", lambda text: None)
    by_round = [processes[at : at + 6] for at in range(0, len(processes), 6)]
    assert [{job.round for job in jobs} for jobs in by_round] == [{at} for at in range(7)]
    orders = {tuple(job.key for job in jobs) for jobs in by_round[1:]}
    assert len(orders) > 1
    assert all(len(samples) == 6 for samples in made["rounds"].values())


def test_an_interrupted_measurement_continues_and_a_finished_one_takes_more_rounds(
    processes: list[rounds.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, lines = tmp_path / "m.json", []
    start = rounds._start

    def cut(request: Request, job: rounds.Job) -> dict[str, Any]:
        if len(processes) == 5:
            raise KeyboardInterrupt
        return start(request, job)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "_start", cut)
        with pytest.raises(KeyboardInterrupt):
            rounds.run(request(rounds=3), to, lines.append)
    assert len(lines) == 5
    kept = read(to)
    assert sum(map(len, kept["rounds"].values())) == 3
    rounds.run(request(rounds=3), to, lines.append)
    assert len(processes) == 8
    assert len({(job.key, job.round) for job in processes}) == 8
    made = rounds.run(request(rounds=4), to, lines.append)
    assert len(processes) == 10
    assert {len(samples) for samples in made["rounds"].values()} == {4}
    assert read(to) == made


def test_a_file_of_another_measurement_is_left_alone(
    processes: list[rounds.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "m.json"
    rounds.run(request(rounds=1), to, lambda text: None)
    before = to.read_bytes()
    for changes, words in [
        ({"algos": "bc"}, "its algorithms differ"),
        ({"hidden": "16x2"}, "its sizes differ"),
        ({"preset": "cpu"}, "its preset is smoke, not cpu"),
        ({"set_": ["om2p.fd_step=0.1"]}, "its overrides differ"),
    ]:
        with pytest.raises(BenchError, match="holds another measurement") as caught:
            rounds.run(request(**changes), to, lambda text: None)
        assert words in str(caught.value)
    with monkeypatch.context() as patch:
        patch.setattr(document.reference_counts, "update_flops", lambda *_: 1)
        with pytest.raises(BenchError, match="a preset or a reference count has changed since"):
            rounds.run(request(rounds=1), to, lambda text: None)
    monkeypatch.setattr(document, "code_hash", lambda: "another")
    with pytest.raises(BenchError, match="the code has changed since"):
        rounds.run(request(rounds=1), to, lambda text: None)
    assert to.read_bytes() == before


def test_code_that_changes_meanwhile_stops_the_measurement(
    processes: list[rounds.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, lines = tmp_path / "m.json", []
    monkeypatch.setattr(
        rounds, "code_hash", lambda: "edited" if len(processes) > 3 else document.code_hash()
    )
    with pytest.raises(BenchError, match="the code has changed while it was measured"):
        rounds.run(request(rounds=3), to, lines.append)
    assert len(lines) == 3
    assert sum(map(len, read(to)["rounds"].values())) == 1


def test_what_failed_is_tried_again_by_the_same_command(
    processes: list[rounds.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "m.json"
    with monkeypatch.context() as patch:
        patch.setattr(rounds, "_start", lambda *_: {"error": "no memory for a moment"})
        made = rounds.run(request(rounds=1), to, lambda text: None)
    assert set(made["failures"].values()) == {"no memory for a moment"}
    made = rounds.run(request(rounds=1), to, lambda text: None)
    assert made["failures"] == {}
    assert {len(samples) for samples in made["rounds"].values()} == {1}


def test_another_number_of_steps_is_marked_wherever_it_counts() -> None:
    """Also for chains that only training runs, such as the flow of fql."""
    asked = request("fql,om2p", set_=["fql.flow_steps=2"])
    rows = {e["algorithm"]: e for e in document.new(asked)["entries"]}
    assert rows["fql"]["changed_chains"] == {"flow_steps": [2, 10]}
    assert rows["om2p"]["changed_chains"] == {}


def test_a_file_is_measured_into_by_one_process(
    processes: list[rounds.Job], tmp_path: Path
) -> None:
    to = tmp_path / "{m}.json"
    with (
        locks.measurement_lock(to),
        pytest.raises(BenchError, match=rf"{{m}}\.json is being .* by process {os.getpid()}:"),
    ):
        rounds.run(request(rounds=1), to, lambda text: None)
    assert not processes
    rounds.run(request(rounds=1), to, lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["{m}.json"]


def test_times_of_another_machine_are_not_added(
    processes: list[rounds.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "m.json"
    rounds.run(request(rounds=1), to, lambda text: None)
    start = rounds._start

    def elsewhere(request: Request, job: rounds.Job) -> dict[str, Any]:
        answer = start(request, job)
        answer["machine"]["machine_class"] = "another machine"
        return answer

    monkeypatch.setattr(rounds, "_start", elsewhere)
    with pytest.raises(BenchError, match="times of another machine"):
        rounds.run(request(rounds=2), to, lambda text: None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "was not written by"),
        ('{"kind": "om2p-bench measurement", "schema": 99}', "has schema version 99"),
    ],
)
def test_files_without_a_measurement_are_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(BenchError, match=words):
        read(path)
    with pytest.raises(BenchError, match="cannot be read"):
        read(tmp_path / "missing.json")
    with pytest.raises(BenchError, match="in a folder that exists"):
        rounds.run(request(), tmp_path / "missing" / "m.json", lambda text: None)


def test_ctrl_c_says_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "_start", cut)
    flags = [
        "--algos", "bc", "--batch", "32", "--rounds", "1", "--preset", "smoke", "--seconds", "0.02",
        "--device", "cpu", "--to", str(tmp_path / "m.json"),
    ]  # fmt: skip
    assert app.main(["measure", *flags]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_the_command_measures_shows_and_draws(
    tmp_path: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One algorithm works, and one refuses this batch."""
    to, picture = tmp_path / "m.json", tmp_path / "m.png"
    done = subprocess.run(
        [
            sys.executable, "-m", "bench", "measure", "--algos", "om2p,om2p-batch-jacobian",
            "--hidden", "8x2", "--batch", "300", "--rounds", "1", "--seconds", "0.02",
            "--preset", "smoke", "--device", "cpu", "--kernels", "torch,c", "--replicas", "1,2",
            "--to", str(to),
        ],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "batch_jacobian is quadratic in the batch: at most 256 rows" in done.stdout
    assert "[2/4]" in done.stderr
    (key,) = json.loads(to.read_text())["rounds"]
    assert key == "om2p, 3 agents, batch 300, hidden 8x2"
    made = read(to)
    assert made["costs"][key]["memory"]["peak_rss_bytes"] > 50e6
    assert made["costs"][key]["evaluations_update"]["total"] == 7
    assert made["machine"]["threads"] == 1
    (timed,) = made["rounds"][key]
    assert len(timed["calibration"]) == 10
    assert all(0 < value < 10 for value in timed["update"]["cpu"])
    variants = timed["variants"]
    asked = [("torch", 1), ("torch", 2), ("c", 1), ("c", 2)]
    assert [(one["kernels"], one["replicas"]) for one in variants] == asked
    assert [one["computed"]["name"] for one in variants] == ["torch", "torch", "c", "c"]
    assert "c, 2 seeds: times faster" in done.stdout
    assert "Networks computed by: torch (asked for); c (" in done.stdout
    show = ["measure", "--show", str(to)]
    assert app.main([*show, "--format", "markdown", "--figure", str(picture)]) == 0
    assert capsys.readouterr().out == tables.markdown(made)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert app.main([*show, "--figure", "m.txt"]) == 2
    assert "must end in .png or .pdf" in capsys.readouterr().err
    assert app.main([*show, "--format", "text"]) == 2
    assert "unknown --format 'text': known: table, markdown" in capsys.readouterr().err


def test_the_measuring_process_ends_with_the_one_that_started_it() -> None:
    """The parent is gone already: the process ends at once, without an answer."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.tracks.efficiency.job", "1"],
        input="{}", capture_output=True, text=True, cwd=ROOT, timeout=600, check=False,
        env=rounds.worker_environment({}),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""


def test_the_hash_of_the_code_covers_every_file_that_it_names() -> None:
    for pattern in document.MEASURED:
        assert list(ROOT.glob(pattern)), pattern


PAGE = ROOT / "docs" / "efficiency.md"
KEPT = sorted((ROOT / "docs" / "evidence").glob("efficiency*.json"))


def test_measurements_are_committed() -> None:
    assert len(KEPT) >= 2


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_the_committed_tables_are_those_of_the_raw_samples(path: Path) -> None:
    """Each raw file has a page beside it, which `measure --show FILE --format markdown` prints."""
    page, measured = path.with_suffix(".md"), read(path)
    assert page.read_text().endswith("\n\n" + tables.markdown(measured))
    assert f"evidence/{page.name}" in PAGE.read_text()
    assert path.stat().st_size < 2**20
    assert not measured["failures"]
