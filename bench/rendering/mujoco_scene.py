"""Render multi-agent MuJoCo without a display, from positions and velocities."""

import copy
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.rendering.episode import Episode

WIDTH, HEIGHT = 480, 360
FRAME_SECONDS = 0.08  # simulated time between two frames, about
FRAMES = 100  # frames of one episode: eight seconds
SKY = np.array([232, 237, 243], dtype=np.uint8)
FLOOR = (
    np.array([226, 222, 212], dtype=np.uint8),  # the bright squares of the model's floor
    np.array([196, 192, 182], dtype=np.uint8),  # the dark ones
)
CURE = (
    "install the system packages libegl1 and libgl1-mesa-dri (Debian, Ubuntu), or set MUJOCO_GL to "
    "what this machine has"
)


def prepare() -> None:
    """Select rendering without a display before mujoco is imported; BenchError where it fails."""
    if sys.platform == "linux" and "mujoco" not in sys.modules:
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # ctypes and OpenGL raise many kinds where a library is missing
        raise BenchError(f"MuJoCo cannot render here ({_reason(error)}): {CURE}") from error


def stride(env: Any) -> int:
    """Return the number of control steps between two frames."""
    step = float(env.model.opt.timestep) * int(env.body.frames)
    return max(1, round(FRAME_SECONDS / step))


def frames(env: Any, episode: Episode) -> Iterator[tuple[np.ndarray, float]]:
    """Yield frames (HEIGHT, WIDTH, 3) with the step that each shows."""
    import mujoco

    qpos, qvel = episode.states["qpos"], episode.states["qvel"]
    model = _tidied(env.model)
    data = mujoco.MjData(model)
    try:
        renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
    except Exception as error:
        raise BenchError(f"MuJoCo cannot render here ({_reason(error)}): {CURE}") from error
    try:
        camera = "track" if _has_camera(model, "track") else -1
        for step in range(0, episode.steps + 1, stride(env)):
            data.qpos[:], data.qvel[:] = qpos[step], qvel[step]
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            # No shadows: the fixed light casts none far away and broken ones close by.
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            yield renderer.render().copy(), float(step)
    finally:
        renderer.close()


def _tidied(model: Any) -> Any:
    """Return a copy in light colours on an infinite floor, because robots run off the model's."""
    import mujoco

    model = copy.deepcopy(model)
    for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        across = 2 * model.geom_size[geom, :2].copy()
        model.geom_size[geom, :2] = 0.0  # means an infinite plane in MuJoCo
        material = int(model.geom_matid[geom])
        model.geom_rgba[geom] = 1.0
        if material >= 0:
            # Keep the size of the squares: on an infinite plane repeats count per unit of length.
            model.mat_texrepeat[material] /= np.where(across > 0, across, 1.0)
            model.mat_texuniform[material] = 1
            model.mat_reflectance[material] = 0.0
            model.mat_rgba[material] = 1.0
    for index in range(model.ntex):
        start = int(model.tex_adr[index])
        pixels = int(model.tex_width[index]) * int(model.tex_height[index])
        channels = int(model.tex_nchannel[index])
        texels = model.tex_data[start : start + pixels * channels].reshape(pixels, channels)
        if int(model.tex_type[index]) == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            texels[:, :3] = SKY
        elif int(model.tex_type[index]) == mujoco.mjtTexture.mjTEXTURE_2D:
            bright = texels[:, :3].mean(axis=1, keepdims=True) > 64
            texels[:, :3] = np.where(bright, *FLOOR)
    return model


def _has_camera(model: Any, name: str) -> bool:
    import mujoco

    return int(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)) >= 0


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
