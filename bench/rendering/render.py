"""From a team to a file: `python -m bench render`."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.rendering import animation, mujoco_scene, particles
from bench.rendering.episode import Episode, play
from bench.rendering.teams import Team

PARTICLE_TASKS = ("mpe/spread", "mpe/tag", "mpe/world")
STEP_MILLISECONDS = 120  # of a particle task's step; a tenth of a second passes in it
BODY_MILLISECONDS = 80


def render(make_team: Callable[[], Team], task_id: str, path: Path, number: int = 0) -> str:
    """Play an episode and write it as a GIF; return a sentence about it.

    make_team: called once drawing is known to work. Raises BenchError for a task that has no
    picture, a file that is no GIF, or a machine that cannot render.
    """
    if importlib.util.find_spec("PIL") is None:
        raise BenchError("rendering needs Pillow: pip install 'om2p-bench[render]'")
    moving = task_id.startswith("mamujoco/")
    if not moving and task_id not in PARTICLE_TASKS:
        raise BenchError(
            f"{task_id} cannot be drawn: only particle tasks and multi-agent MuJoCo can"
        )
    animation.check(path)
    if moving:
        mujoco_scene.prepare()
    team = make_team()
    episode, env = play(team, number, _steps(team, moving))
    if moving:
        pictures, milliseconds = mujoco_scene.frames(env, episode), BODY_MILLISECONDS
    else:
        pictures = particles.frames(task_id, env, episode)
        milliseconds = STEP_MILLISECONDS // particles.BETWEEN
    count = animation.write(_captions(pictures, team, episode), path, milliseconds)
    return (
        f"{path}: {count} pictures of {episode.steps} steps of {team.task.id} by "
        f"{team.title}, return {episode.returns[-1]:.1f}"
    )


def _steps(team: Team, moving: bool) -> int | None:
    """Return how many steps are shown: all, or the beginning of a long episode."""
    if not moving:
        return None
    return mujoco_scene.PICTURES * mujoco_scene.stride(team.task.make_env(1, 0))


def _captions(pictures: Iterator, team: Team, episode: Episode) -> Iterator[animation.Captioned]:
    left = f"{team.task.id}   {team.title}"
    for picture, time in pictures:
        step = int(time)
        right = f"step {step}/{episode.horizon}   return {episode.returns[step]:.1f}"
        yield picture, left, right, time / episode.steps
