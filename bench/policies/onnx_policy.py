"""A policy that `python -m bench export` wrote: needs numpy and onnxruntime, not torch."""

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


def draw(random: np.random.Generator, law: str, numbers: np.ndarray) -> None:
    """Fill a float32 array with random numbers, standard `normal` or `uniform` on [0, 1)."""
    if law == "normal":
        random.standard_normal(dtype=np.float32, out=numbers)
    else:
        random.random(dtype=np.float32, out=numbers)


class ExportedPolicy(TeamPolicy):
    """The team of an exported file: one observation per agent in, one action per agent out.

    >>> policy = bench.load_exported("policy.onnx", seed=0)
    >>> actions = policy(observations)  # as those of bench.load_policy

    Its noise comes from numpy, so single actions differ from those of `load_policy`, their law
    does not. It acts for one thread at a time: inputs and outputs have fixed places in memory.
    """

    def __init__(self, content: bytes, seed: int = 0) -> None:
        """Read a file's content; `seed` decides the noise of sampled actions."""
        try:
            import onnxruntime
        except ImportError as error:
            raise BenchError(f"exported policies need onnxruntime: {CURE}") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: what it cannot fold it says of every operator
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        self.description: dict[str, Any] = json.loads(
            session.get_modelmeta().custom_metadata_map[METADATA]
        )
        told = self.description
        super().__init__(
            told["cell"], told["names"], told["observation_sizes"], told["action_sizes"]
        )
        self._random = np.random.default_rng(seed)
        self._draws = [(law, np.zeros(shape, np.float32)) for law, shape in told["draws"]]
        self._places = super()._blank()
        self._joint, _ = self._places
        # Bound once: handing arrays over at every call takes longer than a small network.
        binding = session.io_binding()
        places = [self._joint, *(numbers for _, numbers in self._draws)]
        for one, place in zip(session.get_inputs(), places, strict=True):
            binding.bind_input(one.name, "cpu", 0, np.float32, place.shape, place.ctypes.data)
        self._action = np.zeros((len(self.names), 1, max(self.action_sizes)), np.float32)
        (out,), shape = session.get_outputs(), self._action.shape
        binding.bind_output(out.name, "cpu", 0, np.float32, shape, self._action.ctypes.data)
        self._actions = self._action[:, 0]
        self._run = functools.partial(session.run_with_iobinding, binding)

    def _blank(self) -> tuple[np.ndarray, list[np.ndarray]]:
        return self._places

    def _act(self, joint: np.ndarray) -> np.ndarray:
        """Act upon `joint`, which is the fixed place, with fresh random numbers."""
        for law, numbers in self._draws:
            draw(self._random, law, numbers)
        return self._evaluate()

    def evaluate(self, joint: np.ndarray, numbers: list[np.ndarray]) -> np.ndarray:
        """Return actions (N, A) for padded observations (N, 1, O) and given random numbers."""
        self._joint[:] = joint
        for (_, place), given in zip(self._draws, numbers, strict=True):
            place[:] = given
        return self._evaluate()

    def _evaluate(self) -> np.ndarray:
        """Act upon what lies in the fixed places."""
        self._run()
        return self._actions.copy()


def load_exported(path: str | Path, seed: int = 0) -> ExportedPolicy:
    """Return the team of a file that `python -m bench export` wrote.

    Raises BenchError where there is no such file, it is of another kind, or onnxruntime is missing.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror or error})") from error
    try:
        return ExportedPolicy(content, seed)
    except BenchError:
        raise
    except Exception as error:  # onnxruntime has a class of its own for every way to fail
        raise BenchError(
            f"{path} is no policy that `python -m bench export` wrote ({type(error).__name__})"
        ) from error
