"""Animations of teams: what is drawn where, who acts, and what cannot be drawn."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import datasets
from bench.cli import app
from bench.errors import BenchError
from bench.rendering import actors, animation, mujoco_scene, particles, teams
from bench.rendering.episode import Episode, play
from bench.training import runner
from datasets.drawing import particles as drawing
from datasets.drawing import robots
from datasets.environments.mpe import ParticleEnv
from datasets.environments.mpe_scenarios import Tag, World
from datasets.errors import DatasetError

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]
Image = pytest.importorskip("PIL.Image")


def opened(path: Path) -> list[Any]:
    from PIL import ImageSequence

    with Image.open(path) as image:
        return [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]


def colour(picture: np.ndarray, place: np.ndarray, reach: float) -> tuple[int, ...]:
    """Return the colour at a place of the world."""
    column = round((place[0] / reach + 1) / 2 * drawing.SIZE - 0.5)
    row = round((1 - place[1] / reach) / 2 * drawing.SIZE - 0.5)
    return tuple(picture[row, column].tolist())


def rgb(text: str) -> tuple[int, ...]:
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def spread_episode(steps: int = 2) -> tuple[Episode, Any]:
    env = datasets.load_task("mpe/spread").make_env(1, 0)
    places = np.array([[0, 0], [1.5, 0], [0, -1.2], [-0.8, 0.8], [0.8, 0.8], [0.8, -0.8]])
    position = np.repeat(places[None], steps + 1, axis=0)
    return Episode({"position": position}, np.zeros(steps + 1), 25), env


def test_entities_are_drawn_where_they_are() -> None:
    episode, env = spread_episode()
    pictures = list(particles.frames(env, episode))
    assert [time for _, time in pictures] == [0.0, 0.5, 1.0, 1.5, 2.0]
    picture, reach = pictures[0][0], 1.5 + 0.15 + drawing.MARGIN / 2
    assert picture.shape == (drawing.SIZE, drawing.SIZE, 3)
    for agent in range(3):
        seen = np.array(colour(picture, episode.states["position"][0, agent], reach))
        assert np.abs(seen - rgb(drawing.TEAM[agent])).max() < 40  # slightly transparent
    edge = episode.states["position"][0, 3] + [0.075, 0.0]
    assert max(colour(picture, edge, reach)) < 120  # the landmark's dark ring
    assert colour(picture, np.array([-1.2, -0.3]), reach) == rgb(drawing.GROUND)


def test_frames_between_two_steps_are_interpolated() -> None:
    episode, env = spread_episode()
    episode.states["position"][1:, 0] = [1.0, -0.6]
    middle = list(particles.frames(env, episode))[1][0]
    reach = 1.5 + 0.15 + drawing.MARGIN / 2
    seen = np.array(colour(middle, np.array([0.5, -0.3]), reach))
    assert np.abs(seen - rgb(drawing.TEAM[0])).max() < 40


@pytest.mark.parametrize("scenario", [Tag, World])
def test_predators_prey_and_landmarks_have_different_colours(scenario: Any) -> None:
    env = ParticleEnv(scenario(), 1, 0)
    count = len(env.scenario.entities)
    position = np.stack([np.linspace(-1.1, 1.1, count), np.tile([-0.6, 0.6], count)[:count]], 1)
    episode = Episode({"position": np.stack([position] * 2)}, np.zeros(2), 25)
    picture = next(particles.frames(env, episode))[0]
    sizes = np.array([entity.size for entity in env.scenario.entities])
    reach = max(drawing.SMALLEST, 1.1 + sizes[-1] + drawing.MARGIN / 2)
    seen = [colour(picture, place, reach) for place in position]
    assert seen[:3] == [rgb(drawing.HUNTER)] * 3
    assert seen[3] == rgb(drawing.PREY)
    assert seen[4] == rgb(drawing.STONE)
    if scenario is World:
        assert seen[5] == rgb(drawing.FOOD)
        green = np.array(seen[7]) - rgb(drawing.GROUND)
        assert green[1] > green[0]
        assert green[1] > green[2]


def test_a_gif_shows_captioned_frames_and_repeats(tmp_path: Path) -> None:
    shades = [np.full((40, 200, 3), value, np.uint8) for value in (0, 120, 250)]
    pictures = [(shade, "left", f"step {i}", i / 2) for i, shade in enumerate(shades)]
    path = tmp_path / "new" / "team.gif"
    animation.check(path)
    assert not path.exists()
    assert animation.write(pictures, path, 60) == 3
    frames = opened(path)
    assert len(frames) == 3
    assert frames[0].size == (200, 40 + animation.BAR)
    for frame, shade in zip(frames, (0, 120, 250), strict=True):
        assert abs(frame.getpixel((100, animation.BAR + 20))[0] - shade) < 8
    words = np.asarray(frames[0])[: animation.BAR - 4, :60]
    assert words.min() < 100  # letters on white
    blue = [np.asarray(frame)[animation.BAR - 2, :, 2] for frame in frames]
    assert [int((row > row.min() + 20).sum() > 0) for row in blue]
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        assert image.info["duration"] == 60


# --- who acts --------------------------------------------------------------------------------


def test_every_team_meets_the_same_start_state() -> None:
    experts = actors.of_snapshot("mpe/spread", "expert", None, None, 1)
    nobody = actors.of_snapshot("mpe/spread", "random", None, None, 1)
    first, second = (play(team, 4)[0] for team in (experts, nobody))
    assert first.steps == second.steps == 25
    position = first.states["position"]
    np.testing.assert_array_equal(position[0], second.states["position"][0])
    assert (position[25] != second.states["position"][25]).any()
    assert (position[0] != play(experts, 5)[0].states["position"][0]).any()
    assert first.returns[-1] > second.returns[-1]


def test_the_return_is_that_of_the_environment() -> None:
    """Play the recorded states' actions again by hand."""
    team = actors.of_snapshot("mpe/spread", "medium", None, None, 1)
    episode, env = play(team, 0)
    start = {"position": episode.states["position"][:1], "velocity": episode.states["velocity"][:1]}
    env.set_state({name: torch.from_numpy(value) for name, value in start.items()})
    total, observation = 0.0, env._observe()
    for step in range(25):
        observation, reward, _, _ = env.step(team.act(observation[0])[None].clamp(-1, 1))
        total += float(reward.mean())
        assert episode.returns[step + 1] == pytest.approx(total, abs=1e-3)


def test_the_team_of_a_dataset_acts_with_its_noise() -> None:
    noisy, clean = (
        actors.of_dataset("mpe/spread/expert", None, None, 1),
        actors.of_snapshot("mpe/spread", "expert", None, None, 1),
    )
    observation = torch.zeros(3, 18)
    difference = (noisy.act(observation) - clean.act(observation)).abs()
    assert 0 < difference.max() < 0.5
    uniform = actors.of_dataset("mpe/spread/random", None, None, 1)
    assert uniform.act(observation).abs().max() <= 1


def test_a_cell_shows_what_it_learnt(
    make_cell: Callable[..., Any], tmp_path: Path, capsys: Capture
) -> None:
    cell = make_cell("bc")
    runner.run_cell(cell, tmp_path / cell.id, runner.ExecutionOptions(resume=False))
    path = tmp_path / "bc.gif"
    assert app.main(["render", "--run", cell.id, "--out", str(tmp_path), "--to", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "51 frames of 25 steps of mpe/spread by bc, seed 0, return" in printed
    assert len(opened(path)) == 51
    assert app.main(["render", "--run", cell.id, "--out", str(tmp_path)]) == 0
    assert (tmp_path / cell.id / "team.gif").read_bytes() == path.read_bytes()


def test_a_report_draws_the_best_team_of_each_task_within_a_time(
    make_cell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    cell, out = make_cell("bc"), tmp_path / "results"
    folder = out / cell.id
    runner.run_cell(cell, folder, runner.ExecutionOptions(resume=False))
    report = ["report", "--out", str(out), "--to", str(tmp_path / "out")]
    assert app.main([*report, "--no-animations"]) == 0
    assert not (folder / "team.gif").exists()
    (trouble,) = teams.draw_missing(out, seconds=0.01)
    assert "no team of mpe/spread was drawn" in trouble
    assert app.main(report) == 0
    assert len(opened(folder / "team.gif")) == 51
    assert "data:image/gif;base64" in (tmp_path / "out" / "index.html").read_text()
    monkeypatch.setattr(teams.subprocess, "run", None)  # drawn once, never again
    assert teams.draw_missing(out) == []
    assert capsys.readouterr().err == ""


# --- the command -----------------------------------------------------------------------------


def test_the_command_writes_a_gif(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "team.gif"
    code = app.main(["render", "--expert", "mpe/spread", "--snapshot", "medium", "--to", str(path)])
    assert code == 0
    assert "of mpe/spread by medium policy, return" in capsys.readouterr().out
    frames = opened(path)
    assert len(frames) == 51
    assert path.stat().st_size < 500_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one team to render"),
        (["--expert", "mpe/spread", "--dataset", "mpe/spread/expert"], "--expert and --dataset"),
        (["--expert", "mpe/sprad"], "did you mean mpe/spread"),
        (["--expert", "mpe/spread", "--snapshot", "experts"], "did you mean expert"),
        (["--dataset", "mpe/spread/medium-replay"], "not recorded by one team alone"),
        (["--dataset", "mpe/spread/medium-expert"], "not recorded by one team alone"),
        (["--run", "0123456789ab"], "there is no cell '0123456789ab'"),
        (["--expert", "mpe/spread", "--to", "team.mp4"], "does not end in .gif"),
        (["--expert", "mpe/spread", "--to", "/dev/null/team.gif"], "cannot be written"),
    ],
)
def test_what_cannot_be_rendered_is_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert app.main(["render", *arguments]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_task_that_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    from bench.rendering.render import render

    with pytest.raises(BenchError, match="my/task cannot be drawn"):
        render(lambda: pytest.fail("no team is needed"), "my/task", tmp_path / "x.gif")


# --- MuJoCo ----------------------------------------------------------------------------------


def cheetah() -> Any:
    """A stand-in for an environment: gymnasium's model, and how many physics steps a step has."""
    import gymnasium
    import mujoco

    folder = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    model = mujoco.MjModel.from_xml_path(str(folder / "half_cheetah.xml"))
    return SimpleNamespace(model=model, robot=SimpleNamespace(frames=5))


def standing(env: Any, steps: int) -> Episode:
    qpos = np.zeros((steps + 1, env.model.nq))
    qpos[:, 0] = np.linspace(0, 100, steps + 1)  # far beyond the floor of the model's file
    return Episode({"qpos": qpos, "qvel": np.zeros_like(qpos)}, np.zeros(steps + 1), 1000)


def test_the_model_of_the_environment_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # mujoco writes its warnings where it is
    env = cheetah()
    sizes, texels = env.model.geom_size.copy(), env.model.tex_data.copy()
    tidied = robots._tidied(env.model)
    np.testing.assert_array_equal(env.model.geom_size, sizes)
    np.testing.assert_array_equal(env.model.tex_data, texels)
    assert (tidied.geom_size[0, :2] == 0).all()  # the floor has no end
    assert mujoco_scene.stride(env) == 2  # 0.05 s a step


PROGRAM = """
import sys
from bench.rendering import mujoco_scene
from datasets.drawing import robots
from datasets.errors import DatasetError
from tests.bench.test_rendering import cheetah, standing
try:
    robots.prepare()
    env = cheetah()
    pictures = list(mujoco_scene.frames(env, standing(env, 4)))
except DatasetError as error:
    sys.exit(f'cannot: {error}')
import numpy as np
first, last = pictures[0][0], pictures[-1][0]
print([time for _, time in pictures], first.shape, first.std() > 10, np.abs(
    first[-40:].astype(int).mean() - last[-40:].astype(int).mean()) < 25)
"""


def test_mujoco_is_rendered_without_a_display(tmp_path: Path) -> None:
    """In a new process, because MuJoCo selects its renderer at the first import."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("MUJOCO_GL", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if "cannot: " in done.stderr:
        assert "libegl1" in done.stderr
        pytest.skip(f"no EGL here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0.0, 2.0, 4.0] (360, 480, 3) True True"


def test_a_machine_that_cannot_render_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mujoco

    def broken(*_: Any) -> None:
        raise RuntimeError("no\ncontext")

    monkeypatch.chdir(tmp_path)
    env = cheetah()
    monkeypatch.setattr(mujoco, "Renderer", broken)
    with pytest.raises(DatasetError, match=r"no context.*libegl1") as caught:
        next(mujoco_scene.frames(env, standing(env, 1)))
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(DatasetError, match="libegl1"):
        robots.prepare()
