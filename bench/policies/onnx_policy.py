"""Run a policy that `python -m bench export` wrote: needs numpy and onnxruntime, not torch."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.outside import Json
from bench.policies.team import TeamPolicy

METADATA = "om2p_bench"  # the key of the description in the file
OBSERVATION = "observation"
BATCH = "batch"  # in place of a size that is the number of joint observations
CURE = "pip install 'om2p-bench[export]'"


def draw(random: np.random.Generator, distribution: str, numbers: np.ndarray) -> None:
    """Fill a float32 array with random numbers: standard `normal`, or `uniform` on [0, 1)."""
    if distribution == "normal":
        random.standard_normal(dtype=np.float32, out=numbers)
    else:
        random.random(dtype=np.float32, out=numbers)


def named_sizes(shape: Sequence[int], multiples: Mapping[int, int]) -> list[int | str]:
    """Return a shape with `batch`, or `5*batch`, for the axes that grow with the batch."""
    names = {axis: BATCH if count == 1 else f"{count}*{BATCH}" for axis, count in multiples.items()}
    return [names.get(axis, size) for axis, size in enumerate(shape)]


def sized(shape: Sequence[int | str], batch: int) -> tuple[int, ...]:
    """Return a shape for a batch of this size."""

    def size(one: int | str) -> int:
        if isinstance(one, int):
            return one
        count, star, _ = one.partition("*")
        return int(count) * batch if star else batch

    return tuple(map(size, shape))


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
        about: Json = json.loads(metadata)
        self.description = about
        super().__init__(
            about["cell"], about["names"], about["observation_sizes"], about["action_sizes"]
        )
        self._random = np.random.default_rng(seed)
        self.dynamic = about.get("batch") == BATCH  # whether it takes any number of observations
        self._model = model
        drawn = [(law, np.zeros(sized(shape, 1), np.float32)) for law, shape in about["draws"]]
        self._draw = [functools.partial(draw, self._random, *one) for one in drawn]
        self._buffers = super()._blank()
        self._joint, _ = self._buffers
        # Bind the buffers once: passing arrays at every call takes longer than a small network.
        binding = model.io_binding()
        inputs = [self._joint, *(numbers for _, numbers in drawn)]
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
        for draw_anew in self._draw:
            draw_anew()
        self._run()
        return self._actions.copy()

    def evaluate(self, joint: np.ndarray, numbers: list[np.ndarray]) -> np.ndarray:
        """Return actions (N, B, A) for padded observations (N, B, O) and given random numbers."""
        names = [one.name for one in self._model.get_inputs()]
        inputs = dict(zip(names, [joint, *numbers], strict=True))
        actions: np.ndarray = self._model.run(None, inputs)[0]
        return actions

    def act_on_batch(self, observations: Sequence[Any]) -> list[np.ndarray]:
        """Return each agent's actions (B, A_i) for its observations (B, O_i), in the team's order.

        Raises BenchError for a file that was exported without --batch dynamic, and other sizes.
        """
        rows = [np.asarray(one, np.float32) for one in observations]
        sizes = [size for (size,) in self._shapes]
        count = len(rows[0]) if rows else 0
        if [row.shape for row in rows] != [(count, size) for size in sizes] or not count:
            raise BenchError(
                f"the policy of cell {self.cell} needs observations of shapes (B, O) with O = "
                f"{sizes}, not {[row.shape for row in rows]}"
            )
        if not self.dynamic and count > 1:
            raise BenchError(
                f"the file of cell {self.cell} takes one joint observation at a time: export it "
                "again with --batch dynamic"
            )
        joint = np.zeros((len(rows), count, self._widest), np.float32)
        for place, row in zip(joint, rows, strict=True):
            place[:, : row.shape[1]] = row
        drawn = []
        for law, shape in self.description["draws"]:
            drawn.append(np.empty(sized(shape, count), np.float32))
            draw(self._random, law, drawn[-1])
        actions = self.evaluate(joint, drawn)
        return [one[:, :size] for one, size in zip(actions, self.action_sizes, strict=True)]


def describe(path: str | Path) -> str:
    """Return the names, shapes and meaning of a file's inputs and outputs, as text."""
    policy = load_exported(path)
    about, names = policy.description, policy.names
    batch = BATCH if policy.dynamic else 1
    widest = max(about["observation_sizes"]), max(about["action_sizes"])
    laws = {"normal": "standard normal", "uniform": "uniform on [0, 1)"}
    each = ", ".join
    lines = [
        f"team: {about['algorithm']} (version {about['version']}), cell {about['cell']}",
        f"agents, in this order: {each(names)}",
        "inputs (float32):",
        f"  {OBSERVATION} {_shown([len(names), batch, widest[0]])}: agents, joint observations, "
        f"features; agents have {each(map(str, about['observation_sizes']))} features, the rest is "
        "0; not normalised: as the environment gives them",
    ]
    lines += [
        f"  draw_{index} {_shown(shape)}: {laws[law]} numbers, independent, new in every call"
        for index, (law, shape) in enumerate(about["draws"])
    ]
    lines += [
        "output (float32):",
        f"  action {_shown([len(names), batch, widest[1]])}: agents, joint observations, actions "
        f"in [-1, 1]; agents have {each(map(str, about['action_sizes']))}, the rest is unused",
        f"{BATCH}: any number of joint observations from 1 on"
        if policy.dynamic
        else "one joint observation at a time; --batch dynamic exports for any number",
    ]
    return "\n".join(lines)


def _shown(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))})"


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
