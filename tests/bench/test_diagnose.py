"""`python -m bench diagnose`: each number against a policy or critic whose answer is known."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from algorithms.parts.critics import TwinCritic
from bench.cli import app
from bench.diagnose import actions, critics, opened, release
from bench.diagnose.opened import OpenedCell, open_cell
from bench.errors import BenchError
from bench.policies.checkpointed import evaluate_again, find_cell
from tests.bench import forked

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> tuple[Path, Path, dict[str, str]]:
    """Train one cell each of om2p, bc and mac-flow; return results, data, and ids by algorithm."""
    root = tmp_path_factory.mktemp("diagnose")
    out, data = root / "results", root / "data"
    flags = ["run", "--preset", "smoke", "--algos", "om2p,bc,mac-flow", "--seeds", "1",
             "--datasets", "mpe/spread/random", "--size", "2000", "--set", "run.updates=4",
             "--set", "om2p.discount=0.5", "--set", "run.final_episodes=8", "--jobs", "1",
             "--out", str(out), "--data-dir", str(data)]  # fmt: skip
    with forked.workers():
        assert app.main(flags) == 0
    cells = {}
    for folder in out.glob("*/run.json"):
        record = opened.checkpointed.load_policy(folder.parent.name, out).record
        cells[record["algorithm"]["name"]] = folder.parent.name
    return out, data, cells


def load(study: Any, name: str, rows: int = 64) -> OpenedCell:
    out, data, cells = study
    return open_cell(cells[name], rows, out, data)


def with_parts(cell: OpenedCell, **parts: Any) -> OpenedCell:
    """Return the cell with an algorithm whose named parts are replaced."""

    class Changed:
        def __getattr__(self, name: str) -> Any:
            return parts[name] if name in parts else getattr(cell.algorithm, name)

    algorithm: Any = Changed()
    return dataclasses.replace(cell, algorithm=algorithm)


class KnownCritic(TwinCritic):
    """Q(o, a) = 10 + 3 a_0 for both heads."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        value = 10.0 + 3.0 * action[..., 0]
        return torch.stack([value, value], dim=1)

    frozen = forward


def test_q_truth_compares_q_with_the_discounted_return_that_followed(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reward is 2 and every action is 0, so Q is 10 and the return is 4, up to the cut."""
    cell = load(study, "om2p")
    task = cell.task

    class Paying:
        id, horizon = task.id, task.horizon

        def make_env(self, *arguments: Any) -> Any:
            env = task.make_env(*arguments)
            step = env.step

            def paying(action: Tensor) -> Any:
                observation, reward, *ends = step(action)
                return observation, torch.full_like(reward, 2.0), *ends

            env.step = paying
            return env

    def still(seen: Tensor, memory: Any, generators: Any) -> Any:
        return torch.zeros(*seen.shape[:2], 2), memory

    monkeypatch.setattr(OpenedCell, "task", Paying())
    row = critics.q_truth(with_parts(cell, act=still, critic=KnownCritic()))
    assert row[:2] == ("`om2p`", "0")
    assert row[3:] == ("10.0", "4.0", "2.50")  # 2 / (1 - 0.5) is 4


def test_discounted_sums_are_those_of_a_plain_loop() -> None:
    rewards = list(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)))
    sums = critics.discounted(rewards, 0.9)
    for start in range(6):
        expected = sum(0.9 ** (at - start) * rewards[at] for at in range(start, 6))
        assert torch.allclose(sums[start], torch.as_tensor(expected))


def test_q_scale_of_a_linear_critic_is_its_slope(study: Any) -> None:
    cell = with_parts(load(study, "om2p", 512), critic=KnownCritic())
    name, dataset, mean, _, over_actions, gradient, distance = critics.q_scale(cell)
    assert (name, dataset) == ("`om2p`", "`mpe/spread/random`")
    assert float(mean) == pytest.approx(10.0, abs=0.3)
    assert float(over_actions) == pytest.approx(3 / 3**0.5, abs=0.1)  # 3 x deviation of uniform
    assert gradient == "3.0"
    assert float(distance) > 1.0  # to a_0 = 1, and any a_1


def test_actions_that_follow_half_of_their_noise_have_slope_one_half(study: Any) -> None:
    cell = load(study, "om2p")
    small = 0.1

    def follow(seen: Tensor, memory: Any, generators: Any) -> Any:
        noise = cell.algorithm.noise(seen.shape[1], generators)
        return small * 0.5 * noise, memory

    row = actions.action_noise(with_parts(cell, act=follow))
    assert row[3:5] == ("0.05", "0.05")
    deterministic = actions.action_noise(load(study, "bc"))
    assert deterministic[3:5] == ("0.00", "0.00")
    assert deterministic[5] == deterministic[6]  # the mean over draws is the one action


def test_no_added_noise_gives_the_return_of_evaluate(study: Any) -> None:
    out, _, cells = study
    plain, noisy = actions.scattered(load(study, "bc"), (0.0, 5.0), episodes=8)
    expected = evaluate_again(find_cell(cells["bc"], out), 8)
    assert plain == ("0", "0.00", f"{expected.return_mean:.1f}", f"{expected.score:.1f}")
    assert 0.6 < float(noisy[1]) < 1.0  # clipping leaves less than 5
    assert noisy[2] != plain[2]


@pytest.mark.parametrize("name", ["bc", "mac-flow"])
def test_a_cell_without_a_critic_of_single_agents_is_refused(study: Any, name: str) -> None:
    with pytest.raises(BenchError, match="has no critic of single agents"):
        critics.q_scale(load(study, name))


def test_a_discount_that_looks_beyond_the_episode_is_refused(study: Any) -> None:
    cell = load(study, "om2p")
    patient = dataclasses.replace(cell.algorithm.settings, discount=0.95)
    with pytest.raises(BenchError, match=r"25 steps, but with discount 0\.95 rewards count for 90"):
        critics.q_truth(with_parts(cell, settings=patient))


def test_the_released_step_gives_zeros_and_a_larger_one_the_derivative() -> None:
    rows = list(release.differences(points=200, updates=3, hidden=(16, 16)))
    assert [row[0] for row in rows] == [f"{step:g}" for step in release.STEPS]
    assert rows[0][1:] == ("100.00%", "1")
    assert float(rows[4][2]) < 0.05  # step 1e-3


def test_every_defect_has_a_row() -> None:
    rows = list(release.defects(2, hidden=(16,)))
    assert len(rows) == len(release.VARIANTS) + 1
    assert all(float(distance) > 0 for _, _, distance in rows)


def test_the_commands_print_markdown_tables(study: Any, capsys: Capture) -> None:
    out, data, cells = study
    places = ["--out", str(out), "--data-dir", str(data)]
    assert app.main(["diagnose", "q_truth", cells["om2p"], *places]) == 0
    assert app.main(["diagnose", "q_scale", cells["om2p"], *places]) == 0
    assert app.main(["diagnose", "action_noise", cells["bc"], cells["om2p"], *places]) == 0
    assert (
        app.main(["diagnose", "scattered", cells["bc"], "0", "0.5", "--episodes", "4", *places])
        == 0
    )
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("|---") for line in printed) == 4  # one table each
    assert sum(line.startswith("| `") for line in printed) == 4
    assert len(printed) == 4 * 2 + 1 + 1 + 2 + 2
    assert app.main(["diagnose", "q_truth", "nothing", *places]) == 2
    assert "there is no cell 'nothing'" in capsys.readouterr().err
