"""Export the policy of a cell as an ONNX file that computes one joint action without torch."""

import importlib.util
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.device.acting import Acting
from bench.errors import BenchError
from bench.policies import checkpointed
from bench.policies.onnx_policy import CURE, METADATA, OBSERVATION, ExportedPolicy, draw
from bench.results import store
from bench.results.record import Record
from datasets.tasks import agent_names

PACKAGES = ("onnx", "onnx_ir", "onnxscript", "onnxruntime")
TRIALS, TOLERANCE = 32, 1e-4


def export(cell: str | Path, to: Path, out: str | Path = "results") -> tuple[ExportedPolicy, float]:
    """Write the policy of a cell to the file `to`; return it and the largest difference to torch.

    The difference is between actions for the same observations and the same random numbers.
    Raises BenchError for a cell without checkpoint, missing packages, a policy that plans or keeps
    a history, or a file that cannot be written.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchError(f"exporting needs {', '.join(missing)}: {CURE}")
    trained = checkpointed.load_policy(cell, out)
    content = model_of(trained.algorithm, trained.record)
    exported = ExportedPolicy(content)
    difference = compared(trained.algorithm, exported)
    if not difference <= TOLERANCE:
        raise BenchError(
            f"the exported policy of cell {trained.cell} differs from the checkpoint's by "
            f"{difference:.2g}, so nothing was written: let `act` draw random numbers by "
            "self.noise and self.uniform only"
        )
    try:
        with store.atomic_file(to) as file:
            file.write(content)
    except OSError as error:
        reason = error.strerror or error
        raise BenchError(f"{to} cannot be written ({reason}): name another file") from error
    return exported, difference


def model_of(algorithm: Any, record: Record) -> bytes:
    """Return the ONNX file of an algorithm of one replica, with its description as metadata."""
    from onnx_ir.passes import common as passes

    (observation,) = observations(algorithm, 1)
    acting = Acting(algorithm, observation).eval()
    random = np.random.default_rng(0)
    numbers = list(map(torch.from_numpy, _drawn(random, acting)))
    names = [f"draw_{index}" for index in range(len(numbers))]
    logger = logging.getLogger("torch.onnx")  # it warns about operators that are not used here
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                acting,
                (observation, *numbers),
                dynamo=True,
                verbose=False,
                input_names=[OBSERVATION, *names],
                output_names=["action"],
            )
    finally:
        logger.setLevel(level)
    assert program is not None  # None only if it writes a file itself
    # The exporter repeats weights at every step of a chain and records the paths of source files.
    passes.DeduplicateInitializersPass(size_limit=2**40)(program.model)
    passes.ClearMetadataAndDocStringPass()(program.model)
    model, spec = program.model_proto, algorithm.spec
    description = {
        "cell": record.cell,
        "algorithm": record.algorithm.name,
        "version": record.algorithm.version,
        "names": agent_names(spec.agents),
        "observation_sizes": list(spec.observation_sizes),
        "action_sizes": list(spec.action_sizes),
        "draws": [[one.law, list(one.shape)] for one in acting.draws],
    }
    model.metadata_props.add(key=METADATA, value=json.dumps(description))
    content: bytes = model.SerializeToString()
    return content


def observations(algorithm: Any, count: int) -> Tensor:
    """Return joint observations (count, N, 1, O) distributed as in the data, padding zero."""
    spec = algorithm.spec
    mean, std = algorithm.observation_mean, algorithm.observation_std  # (N, 1, O)
    normal = torch.randn(count, *mean.shape, generator=torch.Generator().manual_seed(0))
    width = torch.arange(mean.shape[-1])
    used = width < torch.tensor(spec.observation_sizes)[:, None, None]  # (N, 1, O)
    return (mean + std * normal) * used


def _drawn(random: np.random.Generator, acting: Acting) -> list[np.ndarray]:
    """Return the random numbers of one joint action."""
    drawn = [np.empty(one.shape, np.float32) for one in acting.draws]
    for one, numbers in zip(acting.draws, drawn, strict=True):
        draw(random, one.law, numbers)
    return drawn


def compared(algorithm: Any, exported: ExportedPolicy) -> float:
    """Return the largest difference between actions of torch and of the file."""
    random, largest = np.random.default_rng(1), 0.0
    for joint in observations(algorithm, TRIALS):
        acting = Acting(algorithm, joint)
        numbers = _drawn(random, acting)
        with torch.no_grad():
            expected = acting(joint, *map(torch.from_numpy, numbers)).numpy()[:, 0]
        action = exported.evaluate(joint.numpy(), numbers)
        largest = max(largest, float(np.abs(action - expected).max()))
    return largest
