"""Draw an episode of a team into a file."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.rendering import animation, mujoco_scene, particles
from bench.rendering.actors import Team
from bench.rendering.episode import Episode, play
from datasets.drawing import robots
from datasets.tasks import TASKS

STEP_MILLISECONDS = 120  # shown per step of a particle task, which simulates 0.1 s
MUJOCO_MILLISECONDS = 80  # shown per frame of a MuJoCo task


def render(make_team: Callable[[], Team], task_id: str, path: Path, number: int = 0) -> str:
    """Play an episode and write it as a GIF; return a sentence about it.

    make_team: called after the checks of task, file and machine. Raises BenchError for a task that
    cannot be drawn, a file that is not a GIF, or a machine that cannot render.
    """
    if importlib.util.find_spec("PIL") is None:
        raise BenchError("rendering needs Pillow: pip install 'om2p-bench[render]'")
    is_mujoco = task_id.startswith("mamujoco/")
    if task_id not in TASKS or TASKS[task_id].maker is not None:
        raise BenchError(
            f"{task_id} cannot be drawn: only particle tasks and multi-agent MuJoCo can"
        )
    animation.check(path)
    if is_mujoco:
        robots.prepare()
    team = make_team()
    episode, env = play(team, number, _steps(team, is_mujoco))
    if is_mujoco:
        frames, milliseconds = mujoco_scene.frames(env, episode), MUJOCO_MILLISECONDS
    else:
        frames = particles.frames(env, episode)
        milliseconds = STEP_MILLISECONDS // particles.BETWEEN
    count = animation.write(_captions(frames, team, episode), path, milliseconds)
    return (
        f"{path}: {count} frames of {episode.steps} steps of {team.task.id} by "
        f"{team.title}, return {episode.returns[-1]:.1f}"
    )


def _steps(team: Team, is_mujoco: bool) -> int | None:
    """Return the number of steps to show, None for the whole episode."""
    if not is_mujoco:
        return None
    return mujoco_scene.FRAMES * mujoco_scene.stride(team.task.make_env(1, 0))


def _captions(frames: Iterator, team: Team, episode: Episode) -> Iterator[animation.Captioned]:
    """Add the texts above each frame: task and team, step and return so far."""
    left = f"{team.task.id}   {team.title}"
    for frame, time in frames:
        step = int(time)
        right = f"step {step}/{episode.horizon}   return {episode.returns[step]:.1f}"
        yield frame, left, right, time / episode.steps
