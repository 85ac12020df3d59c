"""Run a policy that `python -m bench export` wrote: needs numpy and onnxruntime, not torch."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.policies.team import TeamPolicy

METADATA = "om2p_bench"  # the key of the description in the file
OBSERVATION = "observation"
CURE = "pip install 'om2p-bench[export]'"


def draw(random: np.random.Generator, distribution: str, numbers: np.ndarray) -> None:
    """Fill a float32 array with random numbers: standard `normal`, or `uniform` on [0, 1)."""
    if distribution == "normal":
        random.standard_normal(dtype=np.float32, out=numbers)
    else:
        random.random(dtype=np.float32, out=numbers)


class ExportedPolicy(TeamPolicy):
    """The team of an exported file: one observation per agent in, one action per agent out.

    >>> policy = bench.load_exported("policy.onnx", seed=0)
    >>> actions = policy(observations)  # as with bench.load_policy

    Its noise comes from numpy: single actions differ from those of `load_policy`, their
    distribution does not. Use it from one thread at a time: inputs and outputs have fixed buffers.
    """

    def __init__(self, content: bytes, seed: int | None = None) -> None:
        """Read a file's content.

        seed: of the noise of sampled actions; without one it is drawn anew.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise BenchError(f"exported policies need onnxruntime: {CURE}") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: it warns about every operator it cannot fold
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        metadata = model.get_modelmeta().custom_metadata_map[METADATA]
        about: dict[str, Any] = json.loads(metadata)
        self.description = about
        super().__init__(
            about["cell"], about["names"], about["observation_sizes"], about["action_sizes"]
        )
        self._random = np.random.default_rng(seed)
        self._draws = [(name, np.zeros(shape, np.float32)) for name, shape in about["draws"]]
        self._buffers = super()._blank()
        self._joint, _ = self._buffers
        # Bind the buffers once: passing arrays at every call takes longer than a small network.
        binding = model.io_binding()
        inputs = [self._joint, *(numbers for _, numbers in self._draws)]
        for one, buffer in zip(model.get_inputs(), inputs, strict=True):
            binding.bind_input(one.name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        self._action = np.zeros((len(self.names), 1, max(self.action_sizes)), np.float32)
        (out,), shape = model.get_outputs(), self._action.shape
        binding.bind_output(out.name, "cpu", 0, np.float32, shape, self._action.ctypes.data)
        self._actions = self._action[:, 0]
        self._run = functools.partial(model.run_with_iobinding, binding)

    def _blank(self) -> tuple[np.ndarray, list[np.ndarray]]:
        return self._buffers

    def _act(self, joint: np.ndarray) -> np.ndarray:
        """Act upon `joint`, which is the input buffer, with new random numbers."""
        for distribution, numbers in self._draws:
            draw(self._random, distribution, numbers)
        return self._evaluate()

    def evaluate(self, joint: np.ndarray, numbers: list[np.ndarray]) -> np.ndarray:
        """Return actions (N, A) for padded observations (N, 1, O) and given random numbers."""
        self._joint[:] = joint
        for (_, buffer), given in zip(self._draws, numbers, strict=True):
            buffer[:] = given
        return self._evaluate()

    def _evaluate(self) -> np.ndarray:
        """Act upon the contents of the buffers."""
        self._run()
        return self._actions.copy()


def load_exported(path: str | Path, seed: int | None = None) -> ExportedPolicy:
    """Return the team of a file that `python -m bench export` wrote.

    seed: of the noise of sampled actions; without one, policies loaded twice draw differently.
    Raises BenchError where the file is missing or of another kind, or onnxruntime is missing.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BenchError(
            f"{path} cannot be read ({error.strerror or error}): name another file"
        ) from error
    try:
        return ExportedPolicy(content, seed)
    except BenchError:
        raise
    except Exception as error:  # onnxruntime raises a different class for every kind of failure
        raise BenchError(
            f"{path} was not written by `python -m bench export` ({type(error).__name__}): "
            "name another file"
        ) from error
