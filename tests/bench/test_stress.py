"""`stress`: level 0, paired differences, resuming, plug-ins, what is left out, and the command."""

import dataclasses
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from bench.errors import BenchError
from bench.plan import config, grid, plugins
from bench.policies import checkpointed
from bench.results import store
from bench.results.record import ROBUSTNESS
from bench.results.robustness import rows as robustness
from bench.results.robustness.rows import Row
from bench.tracks.robustness import stress_plan, stress_run
from bench.tracks.robustness.attackable import Differentiable
from bench.tracks.robustness.stressed_cell import StressedCell, differs_from_record, missing
from bench.training.runner import ExecutionOptions, run_cell
from datasets.perturb import table
from tests.bench import forked

EPISODES = 12
ROOT = Path(__file__).parents[2]
FOG = ROOT / "docs" / "examples" / "fog.py"
SUITE = "observation-noise,team,attack-action,attack-value,view-range"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A results folder with two seeds of om2p and one of bc."""
    out = tmp_path_factory.mktemp("results")
    overrides = {
        "run.updates": 4, "run.batch_size": 8, "run.final_episodes": EPISODES,
        "run.evaluate_every": 4, "run.evaluation_episodes": 3, "algorithm.hidden": [16],
    }  # fmt: skip
    for names, seeds in ((("om2p",), (0, 1)), (("bc",), (0,))):
        made = config.make_config(
            algorithms=names, datasets=("mpe/spread/random",), seeds=seeds, preset="smoke",
            overrides=overrides, size=5000, data_dir=data_dir,
        )  # fmt: skip
        for cell in grid.cells(made):
            assert run_cell(cell, out / cell.id, ExecutionOptions())["status"] == "done"
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    """A copy of the results folder, to be stressed."""
    return Path(shutil.copytree(trained, tmp_path / "results"))


def asked(out: Path, **changes: Any) -> stress_plan.Asked:
    return stress_plan.Asked(out, **{"suite": SUITE, **changes})


def stress(out: Path, **changes: Any) -> dict[str, list[Row]]:
    """Stress every cell in this process; return the rows of each algorithm's first seed."""
    todo, _ = stress_plan.jobs(asked(out, **changes))
    lines: list[str] = []
    assert stress_run.run(todo, 1, "cpu", lines.append) == 0, lines
    return rows(out)


def rows(out: Path) -> dict[str, list[Row]]:
    records = sorted(store.read_records(out).values(), key=lambda one: -one.seed)
    return {one.algorithm.name: robustness.read(out / one.cell) for one in records}


def test_level_0_is_the_cells_own_evaluation_to_the_bit(out: Path) -> None:
    todo, _ = stress_plan.jobs(asked(out))
    for job in todo:
        stressed = StressedCell(job)
        assert differs_from_record(stressed) is False
        recorded = store.read_episodes(job.folder)["return"].to_numpy()
        assert (stressed.calm.returns.float().flatten().numpy() == recorded).all()
    for name, listed in stress(out, suite="view-range,team", levels=(1,)).items():
        record = next(r for r in store.read_records(out).values() if r.algorithm.name == name
                      and r.seed == 0)  # fmt: skip
        zero = [row for row in listed if row.level == 0]
        assert zero
        assert record.results is not None
        assert record.results.last is not None
        for row in zero:
            assert row.return_mean == record.results.last.return_mean
            assert row.score == record.results.last.score
            assert (row.difference, row.difference_error) == (0.0, 0.0)


def test_differences_are_paired_on_start_states(out: Path) -> None:
    todo, _ = stress_plan.jobs(asked(out, algorithms=("bc",), suite="observation-noise"))
    stressed = StressedCell(todo[0])
    one = table.family("observation-noise")
    stressed.run()
    (row,) = [row for row in robustness.read(todo[0].folder) if row.level == 4]
    calm, played = stressed.calm, stressed.play(one, row.value)
    gap = (played.returns - calm.returns).mean(dim=1)
    assert row.difference == pytest.approx(float(gap.mean()))
    assert row.difference_error == pytest.approx(float(gap.std()) / EPISODES**0.5)
    assert row.return_mean == played.return_mean


def test_what_is_there_is_not_played_again(out: Path) -> None:
    first = stress(out, suite="observation-noise", levels=(1,))
    assert [row.level for row in first["bc"]] == [0, 1]
    todo, complete = stress_plan.jobs(asked(out, suite="observation-noise", levels=(1,)))
    assert (todo, complete) == ([], 3)
    todo, _ = stress_plan.jobs(asked(out, suite="observation-noise"))
    assert all(job.levels == {"observation-noise": (2, 3, 4)} for job in todo)
    later = stress(out, suite="observation-noise")
    assert [row for row in later["bc"] if row.level < 2] == first["bc"]
    assert [row.level for row in later["bc"]] == [0, 1, 2, 3, 4]
    again = stress(out, suite="observation-noise", again=True)
    assert again == later, "playing again gives the same numbers"
    other = stress(out, suite="observation-noise", episodes=5)
    assert {row.episodes for row in other["bc"]} == {5}, "one number of episodes per perturbation"


def test_rows_of_another_protocol_are_played_again(out: Path) -> None:
    todo, _ = stress_plan.jobs(asked(out, algorithms=("bc",), suite="action-noise"))
    StressedCell(todo[0]).run()
    listed = robustness.read(todo[0].folder)
    robustness.write(todo[0].folder, [dataclasses.replace(row, version="0") for row in listed])
    again, _ = stress_plan.jobs(asked(out, algorithms=("bc",), suite="action-noise"))
    assert again == todo
    StressedCell(again[0]).run()
    assert robustness.read(todo[0].folder) == listed


def test_a_second_training_seed_is_played_with_when_it_comes(out: Path) -> None:
    names = [name for name, r in store.read_records(out).items() if r.algorithm.name == "om2p"]
    later = out / names[1]
    later.rename(out.parent / "later")
    rows_alone = stress(out, suite="team/cross-play", algorithms=("om2p",))["om2p"]
    assert "no other training seed" in rows_alone[1].note
    (out.parent / "later").rename(later)
    todo, _ = stress_plan.jobs(asked(out, suite="team/cross-play", algorithms=("om2p",)))
    assert sorted(job.cell for job in todo) == sorted(names)
    for job in todo:
        assert StressedCell(job).run() == []
        assert robustness.read(job.folder)[1].return_mean is not None


def test_what_cannot_be_is_said_in_words(out: Path) -> None:
    listed = stress(out, levels=(1,))
    notes = {
        name: {row.name: row.note for row in listed_rows if row.note}
        for name, listed_rows in listed.items()
    }
    assert notes["bc"].keys() == {"attack-value", "team/cross-play"}
    assert "no critic" in notes["bc"]["attack-value"]
    assert notes["om2p"] == {}
    for listed_rows in listed.values():
        assert all((row.return_mean is None) == bool(row.note) for row in listed_rows)


def test_a_policy_with_a_memory_is_not_attacked() -> None:
    import algorithms
    from algorithms.contract.examples import team as spec_of

    settings = dataclasses.replace(
        algorithms.default_settings("madiff-d"), unet_width=8, unet_multipliers=(1, 2)
    )
    team = Differentiable(algorithms.make("madiff-d", spec_of((6, 4), (2, 1)), settings))
    assert "memory" in team.reason
    assert not team.has_critic


def test_a_mask_of_everything_is_the_mean_policy(out: Path) -> None:
    """All dimensions masked, every step: the policy at the data's mean, whatever happens."""
    todo, _ = stress_plan.jobs(asked(out, algorithms=("bc",)))
    stressed = StressedCell(todo[0])
    scene = stressed.scene
    mean = scene.mean[:, None]
    (expected, _) = stressed.algorithm.act(mean.expand(-1, 4, -1))
    blind = (
        table.family("observation-dropout").make(1.0, scene).wrap(stressed.task.make_env(4, 0), 0)
    )
    (action, _) = stressed.algorithm.act(blind.reset().transpose(0, 1))
    assert torch.equal(action, expected)


def test_attacks_see_equal_noise_and_no_other_agent(out: Path) -> None:
    record = next(r for r in store.read_records(out).values() if r.algorithm.name == "om2p")
    team = Differentiable(checkpointed.load_policy(out / record.cell, seed=0).algorithm)
    assert (team.draws, team.reason, team.has_critic) == (4, "", True)
    spec, drawn = (
        team.algorithm.spec,
        torch.randn(5, 3, 18, generator=torch.Generator().manual_seed(0)),
    )
    seen = (spec.observation_mean + 0.1 * spec.observation_std * drawn).requires_grad_(True)
    first, again, other = team.actions(seen, 3), team.actions(seen, 3), team.actions(seen, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    (gradient,) = torch.autograd.grad(
        first[:, 1].sum() + team.values(seen, first)[:, 1].sum(), seen
    )
    assert gradient[:, 1].abs().max() > 0
    assert not gradient[:, [0, 2]].any()
    assert team.values(seen, first).shape == (5, 3)


def test_a_shared_critic_values_every_agent(data_dir: Path) -> None:
    import algorithms
    from algorithms.contract.examples import team as spec_of

    spec = spec_of((6, 4), (2, 1))
    settings = algorithms.settings_class("mac-flow")(hidden=(16,), critic_hidden=(16,))
    learner = algorithms.make("mac-flow", spec, settings)
    team = Differentiable(learner)
    seen = torch.randn(5, 2, 6, generator=torch.Generator().manual_seed(0))
    values = team.values(seen, team.actions(seen, 0))
    inputs = learner._critic_inputs(learner.observed(seen.transpose(0, 1)),
                                    team.actions(seen, 0).transpose(0, 1))  # fmt: skip
    total = learner._mixed(learner.critic(*inputs)).mean(dim=1)[0]
    torch.testing.assert_close(values.mean(dim=1), total)


def test_an_example_of_the_docs_is_a_perturbation(out: Path) -> None:
    before = dict(table.TABLE)
    digest = plugins.load(FOG)
    try:
        listed = stress(out, suite="fog")
        scores = [row.return_mean for row in listed["bc"]]
        assert len(set(scores)) == 5
        assert {row.version for row in listed["bc"]} == {f"1+{digest[:12]}"}
    finally:
        table.TABLE.clear()
        table.TABLE.update(before)
        plugins._hashes.pop(str(FOG))


def test_the_page_shows_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "robustness.md").read_text()
    assert FOG.read_text().strip() in page
    for name in table.TABLE:
        assert f"`{name}`" in page, f"docs/robustness.md does not name {name}"


def test_a_damaged_file_is_a_sentence(out: Path) -> None:
    todo, _ = stress_plan.jobs(asked(out))
    (todo[0].folder / ROBUSTNESS).write_bytes(b"PAR1 nonsense")
    with pytest.raises(BenchError, match="move it away"):
        robustness.read(todo[0].folder)


def test_wrong_words_are_sentences(out: Path) -> None:
    for changes, words in (
        ({"algorithms": ("om3p",)}, "om2p"), ({"datasets": ("mpe/spread/expert",)}, "random"),
    ):  # fmt: skip
        with pytest.raises(BenchError, match=words):
            stress_plan.jobs(asked(out, **changes))
    with pytest.raises(BenchError, match="no finished cell"):
        stress_plan.jobs(asked(out.parent))


def test_missing_levels_are_those_without_a_row() -> None:
    one = [table.family("view-range")]
    assert missing([], one, "mamujoco/hopper-3x1", 10, None) == {}
    assert missing([], one, "mpe/spread", 10, (2,)) == {"view-range": (0, 2)}


def test_the_command_plans_plays_in_processes_and_ends_in_the_same_rows(
    out: Path, forked_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    flags = ("stress", "--out", str(out), "--suite", "observation-noise,fog,team/cross-play",
             "--plugin", str(FOG))  # fmt: skip
    planned = forked_command(*flags, "--plan", "--format", "json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert [row["evaluations"] for row in plan] == [12] * 3
    assert not any((out / row["cell"] / ROBUSTNESS).exists() for row in plan)
    done = forked_command(*flags, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "3 cells stressed, 0 failed" in done.stdout
    assert "no other training seed" in done.stderr
    assert "100 % done" in done.stderr
    for row in plan:
        listed = robustness.read(out / row["cell"])
        assert {one.name for one in listed} == {"observation-noise", "fog", "team/cross-play"}
    alone = rows(out)["bc"]
    noise = [row for row in alone if row.name == "observation-noise"]
    for row in plan:
        (out / row["cell"] / ROBUSTNESS).unlink()
    assert stress(out, suite="observation-noise")["bc"] == noise


SLOW = """
import os
import time
from pathlib import Path

from datasets.perturb import register


class Slow:
    def __init__(self, value, scene):
        pass

    def wrap(self, env, seed):
        Path(os.environ["MARKS"], str(os.getpid())).touch()
        time.sleep(600)


register("slow", Slow, levels=(1.0,), unit="none", summary="never ends")
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_command_keeps_what_is_done_and_ends_at_once(
    out: Path, tmp_path: Path, environment: dict[str, str], one_thread: None, jobs: int
) -> None:
    """In this process or in workers, each in the middle of its second perturbation."""
    (tmp_path / "slow.py").write_text(SLOW)
    marks = tmp_path / "marks"
    marks.mkdir()
    words = ["-m", "bench", "stress", "--out", str(out), "--jobs", str(jobs)]
    words += ["--plugin", str(tmp_path / "slow.py"), "--suite", "observation-noise,slow"]
    process = forked.Program(words, {**environment, "MARKS": str(marks)}, ROOT)
    while len(list(marks.iterdir())) < jobs and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    done = process.end()
    assert done.returncode == 130, done.stderr
    assert "the same command goes on" in done.stderr
    for mark in marks.iterdir():
        assert not psutil.pid_exists(int(mark.name))
    _, complete = stress_plan.jobs(asked(out, suite="observation-noise"))
    assert complete == jobs
