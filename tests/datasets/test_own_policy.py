"""`data record --policy`: recordings by a policy of the user's own."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from bench.cli import app
from datasets import recipes
from datasets.actors import load_snapshots
from datasets.behaviour import policy_file
from datasets.errors import DatasetError
from datasets.recorded.episodes import ARRAYS
from datasets.rollout import Returns, play
from datasets.tasks import load_task

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MEETING = EXAMPLES / "meeting_task.py"
POLICY = """
import numpy as np

from own_policy_gains import GAIN


def act(observation, step, rng):
    assert (step == 0) == (not seen), "it remembers when episodes begin"
    seen[:] = [] if step == 24 else [step]
    observation[:, :, 6:] = 0.0
    noise = rng.standard_normal((len(observation), 3, 2))
    return np.clip(GAIN * observation[..., 4:6] + 0.1 * noise, -1, 1)


def still(observation, step, rng):
    return np.zeros((len(observation), 3, 2))


def broken(observation, step, rng):
    action = np.zeros((len(observation), 3, 2))
    if step == 7:
        action[2, 1, 0] = np.nan
    return action


def loud(observation, step, rng):
    return np.full((len(observation), 3, 2), 1.5)


def flat(observation, step, rng):
    return np.zeros((len(observation), 6))


def raising(observation, step, rng):
    return {}["missing"]


def text(observation, step, rng):
    return np.full((len(observation), 3, 2), "left")


seen = []
number = 3
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file, which imports a module of its own folder."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_policy_gains", raising=False)
    (tmp_path / "own_policy_gains.py").write_text("GAIN = 2.0\n")
    (tmp_path / "plugin.py").write_text(POLICY)
    return tmp_path / "plugin.py"


def record(
    root: Path, policy: str, name: str = "mine", *more: str, task: str = "mpe/spread"
) -> int:
    asked = ["--policy", policy, "--name", name, "--size", "500", "--data-dir", str(root), *more]
    return app.main(["data", "record", task, *asked])


def test_a_policy_records_a_dataset_like_any_other(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seeded, hashed with what it imports, and it cannot change what is recorded."""
    assert record(tmp_path, f"{plugin}:act") == 0
    assert "policy       plugin.py:act" in capsys.readouterr().out
    assert record(tmp_path, f"{plugin}:act", "again") == 0
    assert record(tmp_path, f"{plugin}:act", "other", "--data-seed", "1") == 0
    mine, again, other = (
        datasets.load(f"import/{name}", data_dir=tmp_path) for name in ("mine", "again", "other")
    )
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(mine, name), getattr(again, name))
    assert mine.card["checksum"] == again.card["checksum"] != other.card["checksum"]
    assert (mine.card["n_episodes"], mine.card["n_transitions"]) == (20, 500)
    assert np.asarray(mine.observation)[..., 6:].any(), "the policy wiped its own copy only"
    policy = mine.card["recipe"]["policy"]
    assert (policy["file"], policy["function"]) == ("plugin.py", "act")
    assert set(policy["modules"]) == {"own_policy_gains.py"}
    identity = datasets.recipe("import/mine", data_dir=tmp_path)
    assert identity["policy"] == policy["sha256"]
    assert identity["imported"] == mine.card["checksum"]
    assert app.main(["data", "info", "import/mine", "--data-dir", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "a policy of its recorder's" in text
    assert policy["sha256"] in text


def test_another_module_is_another_policy(plugin: Path, tmp_path: Path) -> None:
    """Even where it acts the same: what it imports belongs to it."""
    assert record(tmp_path, f"{plugin}:still") == 0
    (tmp_path / "own_policy_gains.py").write_text("GAIN = 3.0\n")
    assert record(tmp_path, f"{plugin}:still", "other") == 0
    first, second = (datasets.recipe(f"import/{n}", data_dir=tmp_path) for n in ("mine", "other"))
    assert first["imported"] == second["imported"]
    assert first["policy"] != second["policy"]


BAD = [
    ("broken", r"plugin.py:broken returns nan in episode 2, step 7, agent 1; actions are numbers"),
    ("loud", r"returns 1\.5 in episode 0, step 0, agent 0; .* clip or rescale them"),
    ("flat", r"returns float64 of shape \(20, 6\) at step 0 of episode 0, but .* \(20, 3, 2\)"),
    ("text", r"returns <U4 of shape \(20, 3, 2\)"),
    ("raising", r"raises KeyError at step 0, line \d+: 'missing'"),
    ("nothing", r"has no function nothing; it has act, still"),
    ("number", r"has no function number; it has act"),
    ("not a name", "does not name a policy; write FILE.py:FUNCTION"),
]


def test_every_wrong_policy_is_one_sentence(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases: list[tuple[str, Any]] = [(f"{plugin}:{name}", message) for name, message in BAD]
    cases += [
        ("plugin.py", "does not name a policy"),
        (f"{tmp_path}/absent.py:act", "absent.py cannot be read"),
    ]
    for policy, message in cases:
        assert record(tmp_path, policy) == 2
        said = capsys.readouterr().err
        assert re.search(message, said), said
        assert said.count("\n") == 1
        assert not any((tmp_path / "import").glob("*")), "nothing is left"
    (tmp_path / "bad.py").write_text("raise ValueError('no weights')")
    assert record(tmp_path, f"{tmp_path}/bad.py:act") == 2
    assert "bad.py raises ValueError: no weights" in capsys.readouterr().err
    assert record(tmp_path, f"{plugin}:still", "mine", "--size", "10") == 2
    assert "size 10 is less than one episode of 25 steps" in capsys.readouterr().err
    assert record(tmp_path, f"{plugin}:still") == 0
    assert record(tmp_path, f"{plugin}:still") == 2
    assert "import/mine is there already" in capsys.readouterr().err


def test_any_task_can_be_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plug-in's task with the policy in the same file, and a robot whose episodes end early."""
    file = tmp_path / "both.py"
    file.write_text(
        MEETING.read_text()
        + "\n\nimport numpy as np\n\n"
        + "def act(observation, step, rng):\n"
        + "    return rng.uniform(-1, 1, (*observation.shape[:2], SIZE))\n\nSIZE = 1\n"
    )
    asked = ("--plugin", str(file))
    assert record(tmp_path, f"{file}:act", "met", *asked, task="mine/meeting") == 0
    assert "500 transitions" in capsys.readouterr().out
    (tmp_path / "robot.py").write_text(
        "def act(observation, step, rng):\n"
        "    return rng.uniform(-1, 1, (len(observation), 3, 1))\n"
    )
    asked = ("--size", "1000")
    assert (
        record(tmp_path, f"{tmp_path}/robot.py:act", "fallen", *asked, task="mamujoco/hopper-3x1")
        == 0
    )
    card = datasets.load("import/fallen", data_dir=tmp_path).card
    assert card["terminated_count"] > 0
    assert card["n_transitions"] >= 1000


def test_references_of_a_plugin_are_lines_to_paste(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted into the file, with the mean of a recording, they give the task its scores."""
    asked = ["mine/meeting", "--plugin", str(MEETING), "--episodes", "20"]
    assert app.main(["data", "references", *asked]) == 0
    said = capsys.readouterr().out
    assert "expert   " not in said, "no sentence about data that a plug-in cannot have"
    lines = [line.strip() for line in said.splitlines() if line.startswith("    ")]
    assert lines[0] == "from datasets import Reference"
    arguments = " ".join(lines[1:]).replace("MEAN, STANDARD_ERROR, EPISODES", "-20.0, 1.0, 50")
    text = MEETING.read_text().replace("mine/meeting", "mine/pasted")
    pasted = tmp_path / "pasted.py"
    pasted.write_text(text.replace("source=__file__,", f"source=__file__, {arguments}"))
    pasted.write_text(f"{lines[0]}\n{pasted.read_text()}")
    asked = ["mine/pasted", "--plugin", str(pasted), "--episodes", "20"]
    assert app.main(["data", "references", *asked]) == 0
    again = capsys.readouterr().out
    assert "table -" in again
    assert "expert_return=Reference(-20.000, 1.000, 50" in again
    assert datasets.load_task("mine/pasted").score(-20.0) == 100.0


def test_a_prey_outside_the_environment_is_refused(plugin: Path, tmp_path: Path) -> None:
    from datasets.behaviour import own_recording, policy_file

    with pytest.raises(DatasetError, match="a prey moves inside the environment"):
        own_recording.record(
            "mpe/tag", policy_file.load(f"{plugin}:still"), "x", 500, data_dir=tmp_path,
            prey="external",
        )  # fmt: skip


def test_controllers_of_spread_are_yardsticks_of_its_trained_teams() -> None:
    """To the own landmark, to the nearest one, divided anew: six trained agents stand between."""
    task = load_task("mpe/spread-6")
    rng = np.random.default_rng(0)
    returns = {}
    for name in ("own", "nearest", "divided"):
        policy = policy_file.load(f"{EXAMPLES / 'landmarks.py'}:{name}")
        act = policy_file.Checked(policy, task, rng, 0)
        returns[name] = play(task.make_env(200, seed=5), act, Returns()).total.mean().item()
    actors, _ = load_snapshots(recipes.policies_path(task.id))
    best = play(task.make_env(200, seed=5), actors["best"], Returns()).total.mean().item()
    assert returns["nearest"] < returns["own"] < best < returns["divided"]
