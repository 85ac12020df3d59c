"""A finished cell as a policy: in another environment, and evaluated again."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bench
from bench.cli import app
from bench.errors import BenchError
from bench.plan import grid
from bench.policies.checkpointed import evaluate_again, incomparable, load_policy
from bench.results import store
from bench.results.record import CHECKPOINT, PREVIOUS_CHECKPOINT, RECORD
from bench.training.runner import ExecutionOptions, run_cell
from datasets import tasks
from datasets.protocol import Protocol
from tests.bench import documents


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """The folder of a finished cell."""
    from bench.plan import config, grid

    overrides = {
        "run.updates": 20, "run.batch_size": 8, "run.final_episodes": 10, "algorithm.hidden": [16],
    }  # fmt: skip
    made = config.make_config(
        algorithms=("om2p",), datasets=("mpe/spread/random",), seeds=(0,), preset="smoke",
        overrides=overrides, size=5000, data_dir=data_dir,
    )  # fmt: skip
    (cell,) = grid.cells(made)
    folder = tmp_path_factory.mktemp("results") / cell.id
    assert run_cell(cell, folder, ExecutionOptions())["status"] == "done"
    return folder


def test_a_policy_acts_in_arrays_and_dictionaries(finished: Path) -> None:
    policy = bench.load_policy(finished.name, out=finished.parent)
    observations = np.random.default_rng(0).normal(size=(3, 18))
    actions = policy(observations)
    assert actions.shape == (3, 2)
    assert np.abs(actions).max() <= 1
    again = bench.load_policy(finished.name, out=finished.parent)
    named = again({f"agent_{i}": row for i, row in enumerate(observations)})
    assert list(named) == ["agent_0", "agent_1", "agent_2"]
    np.testing.assert_array_equal(np.stack(list(named.values())), actions)


def test_named_observations_reach_their_agents_in_any_order(finished: Path) -> None:
    observations = np.random.default_rng(0).normal(size=(3, 18))
    named = {f"agent_{i}": row for i, row in enumerate(observations)}
    expected = load_policy(finished)(named)
    actions = load_policy(finished)(dict(reversed(named.items())))
    for name, action in expected.items():
        np.testing.assert_array_equal(actions[name], action)


@pytest.mark.parametrize("names", ["adversary_0 agent_0 agent_1", "agent_0 agent_1", ""])
def test_observations_of_unknown_agents_are_refused(finished: Path, names: str) -> None:
    observations = {name: np.zeros(18) for name in names.split()}
    with pytest.raises(BenchError, match="needs the observations of agent_0, agent_1, agent_2"):
        load_policy(finished)(observations)


@pytest.mark.parametrize(
    ("device", "says"),
    [("cuda", "no usable CUDA device was found"), ("tpu", "unknown --device 'tpu'")],
)
def test_a_device_that_is_not_there_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch, device: str, says: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BenchError, match=says):
        load_policy(finished, device=device)
    with pytest.raises(BenchError, match=says):
        evaluate_again(finished, 10, device)


def test_a_new_episode_does_not_repeat_the_noise(finished: Path) -> None:
    policy, observations = load_policy(finished), np.zeros((3, 18))
    first = policy(observations)
    policy.reset()
    assert not np.array_equal(policy(observations), first)


def test_the_same_seed_acts_alike_and_another_does_not(finished: Path) -> None:
    observations = np.zeros((3, 18))
    first, same, other = (load_policy(finished, seed=seed)(observations) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_without_a_seed_policies_draw_differently(finished: Path) -> None:
    observations = np.zeros((3, 18))
    first, second = (load_policy(finished)(observations) for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_observations_that_are_no_numbers_are_refused(finished: Path, bad: float) -> None:
    policy, observations = load_policy(finished), np.zeros((3, 18))
    observations[1, 4] = bad
    with pytest.raises(BenchError, match=r"agent_1 .*holds NaN or infinity") as caught:
        policy(observations)
    assert "\n" not in str(caught.value)
    observations[1, 4] = 1e30  # far away is no fault, though its square is infinite
    policy(observations)


def test_a_policy_plays_a_pettingzoo_environment(finished: Path) -> None:
    from datasets.adapters.team_env import TeamEnv

    env = TeamEnv("mpe/spread")
    policy = load_policy(finished)
    observations, _ = env.reset(seed=0)
    steps = 0
    while env.agents:
        policy_actions = policy({agent: observations[agent] for agent in env.agents})
        observations, rewards, *_ = env.step(policy_actions)
        assert np.isfinite(list(rewards.values())).all()
        steps += 1
    assert steps == 25


def test_evaluating_again_repeats_the_recorded_return(finished: Path) -> None:
    result = evaluate_again(finished, 10)
    assert result.return_mean == store.read_run(finished)["results"]["last"]["return_mean"]


def test_a_cell_is_evaluated_on_its_own_start_states(finished: Path, tmp_path: Path) -> None:
    """Its record says which, and for how long; today's defaults may be others."""
    copied = tmp_path / finished.name
    shutil.copytree(finished, copied)
    record = store.read_run(copied)
    assert record.protocol is not None
    own = evaluate_again(copied, 10)
    for name, value in (("seed", 77), ("episodes_at_once", 4), ("horizon", 5)):
        before = getattr(record.protocol, name)
        setattr(record.protocol, name, value)
        store.write_run(copied, record)
        assert not torch.equal(evaluate_again(copied, 10).returns, own.returns), name
        setattr(record.protocol, name, before)


def test_an_evaluation_by_another_version_says_so(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    command = ["evaluate", "--run", str(finished), "--episodes", "2"]
    assert app.main(command) == 0
    assert capsys.readouterr().err == ""

    monkeypatch.setattr(grid, "PROTOCOL", Protocol(version=2))
    row = tasks.TASKS["mpe/spread"]
    monkeypatch.setitem(tasks.TASKS, "mpe/spread", dataclasses.replace(row, version=3))
    assert app.main(command) == 0
    message = capsys.readouterr().err
    assert "was scored by version 1 of the protocol, and this is version 2" in message
    assert "by version 1 of the task, and this is version 3" in message
    assert message.count("\n") == 1


def test_an_old_record_without_a_protocol_is_of_version_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / finished.name
    shutil.copytree(finished, copied)
    content = json.loads((copied / "run.json").read_text())
    del content["protocol"]
    (copied / "run.json").write_text(json.dumps(content))
    assert incomparable(copied) == ""
    monkeypatch.setattr(grid, "PROTOCOL", Protocol(version=2))
    assert "version 1 of the protocol" in incomparable(copied)


@pytest.mark.parametrize("shape", [(2, 18), (3, 17), (3, 18, 1)])
def test_observations_of_another_team_are_refused(finished: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(BenchError, match="one per agent"):
        load_policy(finished)(np.zeros(shape))


def test_a_policy_needs_neither_dataset_nor_its_folder(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OM2P_BENCH_DATA", str(tmp_path / "empty"))
    load_policy(finished)(np.zeros((3, 18)))
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("fault", ["cut", "pipe", "missing"])
def test_a_finished_cell_never_acts_as_the_team_of_an_earlier_update(
    finished: Path, tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / finished.name
    shutil.copytree(finished, folder)
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    torch.save({**state, "update": state["update"] - 1}, folder / PREVIOUS_CHECKPOINT)
    content = (folder / CHECKPOINT).read_bytes()
    (folder / CHECKPOINT).unlink()
    if fault == "cut":
        (folder / CHECKPOINT).write_bytes(content[: len(content) // 2])
    elif fault == "pipe":
        os.mkfifo(folder / CHECKPOINT)
    with pytest.raises(BenchError, match=r"ended after .* run the cell again with --resume always"):
        load_policy(folder)
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "status": "failed"}))
    if fault == "missing":  # nothing is wrong: the newest that it has
        load_policy(folder)
    else:
        with pytest.warns(UserWarning, match="the checkpoint before it is used"):
            load_policy(folder)


def test_what_cannot_be_loaded_is_said(
    finished: Path, tmp_path: Path, make_cell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BenchError, match="there is no cell 'nothing'"):
        load_policy("nothing", out=tmp_path)
    cell = make_cell()
    documents.write(tmp_path / cell.id, documents.document(cell.id, status="queued"))
    with pytest.raises(BenchError, match="has not trained yet"):
        load_policy(cell.id, out=tmp_path)
    (tmp_path / cell.id / CHECKPOINT).write_bytes(b"torn")
    with pytest.raises(BenchError, match="no usable checkpoint"):
        load_policy(cell.id, out=tmp_path)
    import dataclasses

    import algorithms

    newer = dataclasses.replace(algorithms.TABLE["om2p"], version=99)
    monkeypatch.setitem(algorithms.TABLE, "om2p", newer)
    with pytest.raises(BenchError, match="was trained with version 1 of om2p"):
        load_policy(finished)
