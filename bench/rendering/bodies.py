"""Render multi-agent MuJoCo without a display, from positions and velocities alone."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.rendering.episode import Episode

WIDTH, HEIGHT = 480, 360
PICTURE_SECONDS = 0.08  # of simulated time between two pictures, about
PICTURES = 100  # of one episode: eight seconds
CURE = (
    "install the system packages libegl1 and libgl1-mesa-dri (Debian, Ubuntu), or set MUJOCO_GL to "
    "what this machine has"
)


def prepare() -> None:
    """Choose rendering without a display, before mujoco is imported; BenchError where it fails."""
    if sys.platform == "linux" and "mujoco" not in sys.modules:
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # ctypes and OpenGL raise many kinds where a library is missing
        raise BenchError(f"MuJoCo cannot render here ({_reason(error)}): {CURE}") from error


def stride(env: Any) -> int:
    """Return how many control steps lie between two pictures."""
    step = float(env.model.opt.timestep) * int(env.body.frames)
    return max(1, round(PICTURE_SECONDS / step))


def frames(env: Any, episode: Episode) -> Iterator[tuple[np.ndarray, float]]:
    """Return pictures (HEIGHT, WIDTH, 3) and the step that each shows."""
    import mujoco

    qpos, qvel = episode.states["qpos"], episode.states["qvel"]
    data = mujoco.MjData(env.model)
    try:
        renderer = mujoco.Renderer(env.model, HEIGHT, WIDTH)
    except Exception as error:
        raise BenchError(f"MuJoCo cannot render here ({_reason(error)}): {CURE}") from error
    try:
        camera = "track" if _has_camera(env.model, "track") else -1
        for step in range(0, episode.steps + 1, stride(env)):
            data.qpos[:], data.qvel[:] = qpos[step], qvel[step]
            mujoco.mj_forward(env.model, data)
            renderer.update_scene(data, camera)
            yield renderer.render().copy(), float(step)
    finally:
        renderer.close()


def _has_camera(model: Any, name: str) -> bool:
    import mujoco

    return int(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)) >= 0


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
