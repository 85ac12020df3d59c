"""Draw robots of MuJoCo without a display, from positions and velocities."""

import copy
import os
import sys
from typing import Any

import numpy as np

from datasets.errors import DatasetError

WIDTH, HEIGHT = 480, 360
SKY = np.array([232, 237, 243], dtype=np.uint8)
FLOOR = (
    np.array([226, 222, 212], dtype=np.uint8),  # the bright squares of the model's floor
    np.array([196, 192, 182], dtype=np.uint8),  # the dark ones
)
CURE = (
    "install the system packages libegl1 and libgl1-mesa-dri (Debian, Ubuntu), or set MUJOCO_GL to "
    "what this machine has before Python starts"
)


def prepare() -> None:
    """Select rendering without a display before mujoco is imported.

    Raises DatasetError where it fails.
    """
    if sys.platform == "linux" and "mujoco" not in sys.modules:
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # ctypes and OpenGL raise many kinds where a library is missing
        raise _cannot(error) from error


class Camera:
    """Draws one model in light colours on an infinite floor."""

    def __init__(self, model: Any) -> None:
        import mujoco

        self._mujoco, self._model = mujoco, _tidied(model)
        self._data = mujoco.MjData(self._model)
        try:
            self._renderer = mujoco.Renderer(self._model, HEIGHT, WIDTH)
        except Exception as error:
            raise _cannot(error) from error
        self._view = "track" if _has_camera(self._model, "track") else -1

    def frame(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Return a frame (HEIGHT, WIDTH, 3) uint8 of the robot in a pose."""
        data = self._data
        data.qpos[:], data.qvel[:] = qpos, qvel
        self._mujoco.mj_forward(self._model, data)
        self._renderer.update_scene(data, self._view)
        # No shadows: the fixed light casts none far away and broken ones close by.
        self._renderer.scene.flags[self._mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        frame: np.ndarray = self._renderer.render()
        return frame.copy()

    def close(self) -> None:
        """Free the context of the graphics library."""
        self._renderer.close()


class Painter:
    """Draws the first copy of a MuJoCo environment as it is."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._camera: Camera | None = None

    def draw(self) -> np.ndarray:
        """Return a frame (HEIGHT, WIDTH, 3) uint8."""
        if self._camera is None:
            self._camera = Camera(self._env.model)
        state = self._env.get_state()
        return self._camera.frame(state["qpos"][0].numpy(), state["qvel"][0].numpy())

    def close(self) -> None:
        """Free the context of the graphics library."""
        if self._camera is not None:
            self._camera.close()
        self._camera = None


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


def _cannot(error: BaseException) -> DatasetError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return DatasetError(f"MuJoCo cannot render here ({reason}): {CURE}")
