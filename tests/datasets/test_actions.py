"""The order of actions in multi-agent MuJoCo: the table against gymnasium-robotics, and imports."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.formats import actions, importing, madiff, omiga, vault
from datasets.formats.layout import check_layout
from datasets.tasks import Task, load_task
from tests.datasets.published import save_madiff, save_omiga
from tests.datasets.vaults import write_vault

SCENARIOS = {
    "mamujoco/ant-2x4": ("Ant", "2x4"),
    "mamujoco/ant-4x2": ("Ant", "4x2"),
    "mamujoco/walker2d-2x3": ("Walker2d", "2x3"),
    "mamujoco/halfcheetah-2x3": ("HalfCheetah", "2x3"),
    "mamujoco/halfcheetah-6x1": ("HalfCheetah", "6x1"),
    "mamujoco/hopper-3x1": ("Hopper", "3x1"),
}


def stand_in(task_id: str, agents: int, acts: int, size: int = 5) -> Task:
    """A task of that id and team, whatever its environment is."""
    return dataclasses.replace(
        load_task("mpe/spread"), id=task_id, agents=agents, horizon=8,
        observation_sizes=(size,) * agents, action_sizes=(acts,) * agents,
        scored_agents=tuple(range(agents)),
    )  # fmt: skip


ANT = stand_in("mamujoco/ant-2x4", 2, 4)


@pytest.mark.parametrize("task_id", SCENARIOS)
@pytest.mark.filterwarnings("ignore")
def test_reordered_actions_move_the_same_actuators(
    task_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older wrapper hands the actuators the agents' actions one after another.

    gymnasium-robotics, given what we make of them, must hand the same to the same actuators.
    """
    robotics = pytest.importorskip("gymnasium_robotics")
    monkeypatch.chdir(tmp_path)  # mujoco may leave a log where it is
    scenario, team = SCENARIOS[task_id]
    env = robotics.mamujoco_v1.parallel_env(scenario, team, agent_obsk=1)
    sizes = [env.action_space(agent).shape[0] for agent in env.possible_agents]
    joint = np.random.default_rng(0).uniform(-1, 1, sum(sizes)).astype(np.float32)
    old = [part[None] for part in np.split(joint, np.cumsum(sizes)[:-1])]
    task = stand_in(task_id, len(sizes), sizes[0])
    places = actions.actuators("omiga", task, None)
    ours = old if places is None else actions.reorder(old, places)
    named = {agent: act[0] for agent, act in zip(env.possible_agents, ours, strict=True)}
    np.testing.assert_array_equal(env.map_local_actions_to_global_action(named), joint)
    assert (places is None) == (task_id not in actions.ACTUATORS)


def leaves(steps: int = 16) -> dict[str, np.ndarray]:
    """Two agents with four actions each, numbered by actuator: 0.0 to 0.7."""
    ends = np.zeros((steps, 2))
    ends[7::8] = 1
    joint = np.tile(np.arange(8) / 10, (steps, 1))
    return {
        "o": np.random.default_rng(0).normal(size=(steps, 2, 5)),
        "a": joint.reshape(steps, 2, 4),
        "r": np.ones((steps, 2)),
        "d": ends,
    }


def read_in(opened: Any, layout_name: str, folder: Path, order: str | None = None) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    with opened as layout:
        check_layout(layout, ANT)
        places = actions.actuators(layout_name, ANT, order)
        importing.copy(layout, ANT, folder, places=places)
    return np.load(folder / "action.npy")


EXPECTED = np.array([[2, 3, 4, 5], [6, 7, 0, 1]]) / 10


@pytest.mark.parametrize("layout_name", ["omiga", "madiff"])
def test_files_of_the_older_wrapper_are_reordered(layout_name: str, tmp_path: Path) -> None:
    if layout_name == "omiga":
        opened = omiga.opened(save_omiga(tmp_path / "x.hdf5", leaves()), ANT)
    else:
        opened = madiff.opened(save_madiff(tmp_path / "files", leaves(), [8, 8]), ANT)
    read = read_in(opened, layout_name, tmp_path / "ours")
    assert len(read) == 14  # both episodes end by time: no observation follows their last steps
    np.testing.assert_allclose(read, np.tile(EXPECTED, (14, 1, 1)), rtol=1e-6)


@pytest.mark.parametrize(("order", "expected"), [("old", EXPECTED), ("gymnasium", None)])
def test_a_vault_must_say_which_order_it_holds(order: str, expected: Any, tmp_path: Path) -> None:
    made = leaves()
    names = {"o": "observations", "a": "actions", "r": "rewards", "d": "terminals"}
    path = write_vault(tmp_path / "x.vlt/a", {n: made[k].astype("f4") for k, n in names.items()})
    read = read_in(vault.opened(path, ANT), "vault", tmp_path / "ours", order)
    wanted = made["a"][0] if expected is None else expected
    np.testing.assert_allclose(read[3], wanted, rtol=1e-6)
    with pytest.raises(DatasetError, match="say --action-order gymnasium"):
        actions.actuators("vault", ANT, None)


def test_other_tasks_need_no_order() -> None:
    task = stand_in("mamujoco/halfcheetah-2x3", 2, 3)
    assert actions.actuators("vault", task, None) is None
    assert actions.actuators("omiga", task, "old") is None
    with pytest.raises(DatasetError, match="unknown action order 'new'"):
        actions.actuators("omiga", task, "new")


def test_an_import_says_that_it_reordered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way, with a stand-in for a task of that id."""
    for module in ("datasets.formats.importing", "datasets.formats.imported", "datasets.recipes"):
        monkeypatch.setattr(f"{module}.load_task", lambda *args, **options: ANT)
    monkeypatch.setattr(importing, "_judged", lambda *args: None)  # the stand-in has no physics
    path = save_omiga(tmp_path / "x.hdf5", leaves())
    folder = importing.import_dataset("omiga", path, ANT.id, "ant", tmp_path)
    from datasets.recorded.store import Dataset

    dataset = Dataset(folder)
    np.testing.assert_allclose(dataset.action[5], EXPECTED, rtol=1e-6)
    assert actions.REORDERED in dataset.card["notes"]
