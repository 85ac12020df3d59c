"""A policy that `python -m bench export` wrote: needs numpy and onnxruntime, not torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.team import TeamPolicy

METADATA = "om2p_bench"  # the key of the description in the file
OBSERVATION = "observation"
CURE = "pip install 'om2p-bench[export]'"


def draw(random: np.random.Generator, law: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float32 numbers, standard `normal` or `uniform` on [0, 1)."""
    if law == "normal":
        return random.standard_normal(shape, dtype=np.float32)
    return random.random(shape, dtype=np.float32)


class ExportedPolicy(TeamPolicy):
    """The team of an exported file: one observation per agent in, one action per agent out.

    >>> policy = bench.load_exported("policy.onnx", seed=0)
    >>> actions = policy(observations)  # as those of bench.load_policy

    Its noise comes from numpy, so single actions differ from those of `load_policy`, their law
    does not.
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
        self._draws = [(law, tuple(shape)) for law, shape in told["draws"]]
        self._inputs = [one.name for one in session.get_inputs()]
        self._run = session.run
        self._random = np.random.default_rng(seed)

    def _act(self, joint: np.ndarray) -> np.ndarray:
        return self.evaluate(joint, [draw(self._random, law, shape) for law, shape in self._draws])

    def evaluate(self, joint: np.ndarray, numbers: list[np.ndarray]) -> np.ndarray:
        """Return actions (N, A) for padded observations (N, 1, O) and given random numbers."""
        (action,) = self._run(None, dict(zip(self._inputs, (joint, *numbers), strict=True)))
        actions: np.ndarray = action[:, 0]
        return actions


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
