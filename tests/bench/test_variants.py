"""Rules, prey and plug-in tasks through the whole harness: identity, workers, results, reports."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datasets
from bench.cli import app
from bench.errors import BenchError
from bench.plan import grid, plugins
from bench.plan.config import RunConfig
from bench.policies.checkpointed import evaluate_again
from bench.results import store
from bench.results.record import References
from bench.study.reproduce import cell_of
from bench.training.runner import ExecutionOptions, run_cell
from datasets import tasks
from datasets.errors import DatasetError
from datasets.formats import importing
from datasets.paths import sha256
from datasets.tasks import load_task
from tests.datasets.prey_files import write_ours

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "meeting_task.py"
ONE = {"run.updates": 10, "run.evaluate_every": 10, "run.checkpoint_every": 10}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def prey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ours(tmp_path_factory.mktemp("prey") / "weak.safetensors")


@pytest.fixture(scope="module")
def done(
    prey: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """One finished cell on Tag against a prey of its own: its record and folder."""
    from tests.bench.conftest import SMALL

    out = tmp_path_factory.mktemp("results")
    config = RunConfig(
        algorithms=("bc",), datasets=("mpe/tag/random",), seeds=(0,), preset="smoke", size=1000,
        overrides={**SMALL, **ONE}, data_dir=data_dir, out=out, device="cpu", prey=str(prey),
    )  # fmt: skip
    (cell,) = grid.cells(config)
    return run_cell(cell, out / cell.id, ExecutionOptions()), out / cell.id


def test_rules_and_prey_make_other_cells(make_config: Callable[..., Any], tmp_path: Path) -> None:
    other = write_ours(tmp_path / "other.safetensors", seed=1)
    same = write_ours(tmp_path / "same.safetensors", seed=1)
    ids = [
        grid.cells(make_config(datasets=("mpe/tag/random",), prey=str(path), rules=rules))[0].id
        for path, rules in ((other, None), (same, None), (other, "omar"), (other, "mpe2"))
    ]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    spread = [grid.cells(make_config(rules=rules))[0].id for rules in (None, "omar", "mpe2")]
    assert spread[0] == spread[1] != spread[2]


def test_a_variant_without_references_has_returns_but_no_score(
    done: tuple[dict[str, Any], Path], prey: Path
) -> None:
    record, folder = done
    name = sha256(prey)[:12]
    assert record["dataset"]["prey"] == record["identity"]["dataset"]["prey"] == name
    assert record["dataset"]["rules"] == "omar"
    assert str(prey.parent) not in json.dumps(record.as_json())  # no path of this machine
    assert record.references == References(random=None, expert=None)
    assert record["results"]["last"]["score"] is None
    assert isinstance(record["results"]["last"]["return_mean"], float)
    row = store.flatten(record)
    assert row["score"] is row["dataset_score"] is row["random_return"] is None
    assert store.read_progress(folder)[-1]["score"] is None


def test_a_cell_is_evaluated_against_its_prey_or_another(
    done: tuple[dict[str, Any], Path], prey: Path, tmp_path: Path, capsys: Capture
) -> None:
    record, folder = done
    with pytest.raises(DatasetError, match="does not ship with om2p-bench; name its file"):
        evaluate_again(folder, 10)
    own = evaluate_again(folder, 10, prey=str(prey))
    assert own.return_mean == record["results"]["last"]["return_mean"]
    other = write_ours(tmp_path / "other.safetensors", seed=1)
    assert evaluate_again(folder, 10, prey=str(other)).return_mean != own.return_mean
    arguments = ["evaluate", "--run", str(folder), "--episodes", "10", "--prey", str(prey)]
    assert app.main(arguments) == 0
    assert "no score, 10 episodes" in capsys.readouterr().out
    assert app.main([*arguments, "--rules", "mpe2"]) == 0
    assert app.main([*arguments, "--rules", "mpe3"]) == 2
    assert "no rules 'mpe3'" in capsys.readouterr().err


def test_a_team_of_other_sizes_is_not_evaluated(
    done: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match=r"under omar rules has .*: evaluate it as it was trained"):
        evaluate_again(done[1], 10, prey="external")


def test_reproducing_needs_the_prey(
    done: tuple[dict[str, Any], Path], prey: Path, data_dir: Path, capsys: Capture
) -> None:
    record, folder = done
    assert cell_of(record, data_dir).recipe == cell_of(record, data_dir, str(prey)).recipe
    arguments = ["reproduce", str(folder), "--data-dir", str(data_dir)]
    assert app.main(arguments) == 2
    assert "name its file with --prey" in capsys.readouterr().err


def test_data_commands_take_rules_and_prey(prey: Path, tmp_path: Path, capsys: Capture) -> None:
    where = ["--size", "500", "--data-dir", str(tmp_path), "--prey", str(prey)]
    for rules in ("omar", "mpe2"):
        assert app.main(["data", "build", "mpe/tag/random", *where, "--rules", rules]) == 0
        assert app.main(["data", "info", "mpe/tag/random", *where, "--rules", rules]) == 0
        output = capsys.readouterr().out
        assert f"rules {rules}, prey {sha256(prey)[:12]}" in output
        assert "no score" in output
    assert app.main(["data", "verify", "--data-dir", str(tmp_path)]) == 0
    assert "2 datasets, 0 broken" in capsys.readouterr().out
    assert app.main(["data", "build", "mpe/tag/random", *where, "--prey", "none.pt"]) == 2
    assert "there is no prey file none.pt" in capsys.readouterr().err


# --- imports -------------------------------------------------------------------------------------


def write_published(folder: Path, name: str, episodes: int = 8, **options: Any) -> Path:
    """Write random play of a task as OMAR's files."""
    task = load_task(name, **options)
    env = task.make_env(episodes, seed=5)
    generator = torch.Generator().manual_seed(0)
    observation, columns = env.reset(), []
    for _ in range(task.horizon):
        shape = (episodes, task.agents, max(task.action_sizes))
        action = torch.rand(shape, generator=generator) * 2 - 1
        following, reward, _, _ = env.step(action)
        columns.append((observation, action, reward, following))
        observation = following
    folder.mkdir()
    kinds = zip(("obs", "acs", "rews", "next_obs"), zip(*columns, strict=True), strict=True)
    for kind, steps in kinds:
        rows = torch.stack(steps, dim=1).flatten(0, 1).numpy()  # (T, N, .)
        sizes = task.action_sizes if kind == "acs" else task.observation_sizes
        for agent in range(task.agents):
            part = rows[:, agent] if kind == "rews" else rows[:, agent, : sizes[agent]]
            np.save(folder / f"{kind}_{agent}.npy", part)
            np.save(folder / f"dones_{agent}.npy", np.zeros(len(rows)))
    return folder


def test_an_import_keeps_the_prey_it_names(prey: Path, tmp_path: Path) -> None:
    """Without --prey at the import the card says that the prey is unknown."""
    files = write_published(tmp_path / "files", "mpe/tag", prey=str(prey))
    import_files = importing.import_dataset
    name = sha256(prey)[:12]
    import_files("omar", files, "mpe/tag", "named", tmp_path, prey=str(prey))
    named = datasets.load("import/named", data_dir=tmp_path)
    assert named.card["prey"] == name
    assert datasets.recipe("import/named", data_dir=tmp_path)["prey"] == name
    with pytest.raises(DatasetError, match="was imported for omar rules"):
        datasets.recipe("import/named", data_dir=tmp_path, rules="mpe2", prey=str(prey))
    with pytest.raises(DatasetError, match="import the files again for the task"):
        datasets.recipe("import/named", data_dir=tmp_path, prey="external")


# --- plug-ins ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("forked_workers")
def test_the_example_of_the_documentation_runs_from_import_to_report(
    tmp_path: Path, small_flags: list[str], capsys: Capture
) -> None:
    """Files of a plug-in's task are imported, trained on in workers, and evaluated again."""
    plugin = tmp_path / "meeting_task.py"
    plugin.write_text(EXAMPLE.read_text())
    plugins.load(plugin)
    files = write_published(tmp_path / "files", "mine/meeting")
    with_plugin = ["--plugin", str(plugin)]
    where = ["--data-dir", str(tmp_path / "data"), *with_plugin]
    arguments = ["--format", "omar", "--task", "mine/meeting", "--name", "met"]
    assert app.main(["data", "import", str(files), *arguments, *where]) == 0
    flags = [flag for flag in small_flags if flag not in ("--size", "5000")]
    flags[flags.index("--datasets") + 1] = "import/met"
    flags += ["--algos", "bc", "--seeds", "1", *where]
    assert app.main(["run", *flags]) == 0
    (record,) = store.read_records(tmp_path / "results").values()
    rules = f"plugin:{sha256(plugin)[:12]}"
    assert record["dataset"]["task"] == "mine/meeting"
    assert record["dataset"]["rules"] == record["identity"]["dataset"]["rules"] == rules
    assert record["results"]["last"]["score"] is None
    capsys.readouterr()
    again = ["evaluate", "--run", record["cell"], "--out", str(tmp_path / "results")]
    assert app.main([*again, "--episodes", "10", *with_plugin]) == 0
    mean = record["results"]["last"]["return_mean"]
    assert f"return {mean:.3f}" in capsys.readouterr().out

    del tasks.TASKS["mine/meeting"]
    assert app.main(again) == 2
    assert (
        "mine/meeting is a plug-in's task; name its file with --plugin" in capsys.readouterr().err
    )
    assert app.main(["data", "info", "import/met", "--data-dir", str(tmp_path / "data")]) == 2
    assert "name its file with --plugin" in capsys.readouterr().err

    changed = tmp_path / "meeting_task_2.py"
    changed.write_text(plugin.read_text().replace('"tug": 0.5', '"tug": 0.6'))
    assert app.main([*again, "--plugin", str(changed)]) == 2
    assert "plug-in file of task mine/meeting has changed" in capsys.readouterr().err
    other = [flag if flag != str(plugin) else str(changed) for flag in flags]
    unused = {"--device", "cpu"}
    assert app.main(["plan", *(flag for flag in other if flag not in unused)]) == 0
    assert record["cell"] not in capsys.readouterr().out


def test_the_file_in_the_page_is_a_task(tmp_path: Path) -> None:
    page = (EXAMPLE.parents[1] / "adding-a-task.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    path = tmp_path / "adversary.py"
    path.write_text(code)
    plugins.load(path)
    task = load_task("mine/adversary")
    assert task.scored_agents == (1, 2)
    env = task.make_env(2, seed=0)
    env.reset()
    action = torch.zeros(2, task.agents, max(task.action_sizes))
    cuts = [bool(env.step(action)[3].all()) for _ in range(25)]
    assert cuts == [False] * 24 + [True]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("1 / 0", "raises ZeroDivisionError: division by zero"),
        ("def broken(:", "raises SyntaxError"),
        (
            "import datasets\ndatasets.plugin_task('x', int, horizon=1, source=__file__)",
            "needs an id such as mine/reach",
        ),
    ],
)
def test_broken_plug_ins_are_one_sentence(
    source: str | None, message: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "plugin.py"
    if source is not None:
        path.write_text(source)
    assert app.main(["list", "tasks", "--plugin", str(path)]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert str(path) in errors
    assert len(errors.splitlines()) == 1


def test_a_plug_in_is_executed_once_and_watched(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(EXAMPLE.read_text())
    first = plugins.load(path)
    assert first == plugins.load(path) == sha256(path)
    assert (str(path), first) in plugins.loaded()
    plugins.load_expected([(str(path), first)])
    with pytest.raises(BenchError, match="has changed since the study began"):
        plugins.load_expected([(str(path), "0" * 64)])
