"""Draw an episode of multi-agent MuJoCo."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.rendering.episode import Episode
from datasets.drawing.robots import Camera

FRAME_SECONDS = 0.08  # simulated time between two frames, about
FRAMES = 100  # frames of one episode: eight seconds


def stride(env: Any) -> int:
    """Return the number of control steps between two frames."""
    step = float(env.model.opt.timestep) * int(env.robot.frames)
    return max(1, round(FRAME_SECONDS / step))


def frames(env: Any, episode: Episode) -> Iterator[tuple[np.ndarray, float]]:
    """Yield frames (HEIGHT, WIDTH, 3) with the step that each shows."""
    camera = Camera(env.model)
    try:
        for step in range(0, episode.steps + 1, stride(env)):
            qpos, qvel = episode.states["qpos"][step], episode.states["qvel"][step]
            yield camera.frame(qpos, qvel), float(step)
    finally:
        camera.close()
