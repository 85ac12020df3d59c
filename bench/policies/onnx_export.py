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
from bench.policies.onnx_policy import (
    BATCH,
    CURE,
    METADATA,
    OBSERVATION,
    ExportedPolicy,
    draw,
    named_sizes,
)
from bench.results import store
from bench.results.record import Record
from datasets.tasks import agent_names

PACKAGES = ("onnx", "onnx_ir", "onnxscript", "onnxruntime")
ANY_BATCH = "2.13"  # with torch 2.6 to 2.9 some algorithms cannot be traced for any batch
TRIALS, TOLERANCE = 32, 1e-4
BATCHES = (1, 2, 7)  # sizes that a file for any batch is compared at


def export(
    cell: str | Path, to: Path, out: str | Path = "results", dynamic: bool = False
) -> tuple[ExportedPolicy, float]:
    """Write the policy of a cell to the file `to`; return it and the largest difference to torch.

    dynamic: let the file take any number of joint observations at once.
    The difference is between actions for the same observations and the same random numbers.
    Raises BenchError for a cell without checkpoint, missing packages, a policy that plans or keeps
    a history, or a file that cannot be written.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchError(f"exporting needs {', '.join(missing)}: {CURE}")
    trained = checkpointed.load_policy(cell, out)
    try:
        content = model_of(trained.algorithm, trained.record, dynamic)
    except torch.onnx.OnnxExporterError as error:
        if not dynamic:
            raise
        raise BenchError(
            f"{trained.record.algorithm.name} cannot be exported for any number of observations "
            f"with torch {torch.__version__}: leave --batch dynamic out, or use torch {ANY_BATCH} "
            "or newer"
        ) from error
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


def model_of(algorithm: Any, record: Record, dynamic: bool = False) -> bytes:
    """Return the ONNX file of an algorithm of one replica, with its description as metadata.

    dynamic: its second dimension, the batch, may be of any size.
    """
    from onnx_ir.passes import common as passes

    # The exporter takes a size of 1 for a constant, so a batch of any size is traced with 2.
    (observation,) = observations(algorithm, 1)
    observation = observation.repeat(1, 2 if dynamic else 1, 1)
    acting = Acting(algorithm, observation).eval()
    multiples = _multiples(algorithm, acting) if dynamic else []
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
                dynamic_shapes=_any_batch(multiples) if dynamic else None,
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
    if dynamic:
        description["batch"] = BATCH
        description["draws"] = [
            [one.law, named_sizes(one.shape, axes)]
            for one, axes in zip(acting.draws, multiples, strict=True)
        ]
    model.metadata_props.add(key=METADATA, value=json.dumps(description))
    content: bytes = model.SerializeToString()
    return content


Multiples = list[dict[int, int]]  # per input: axis, and how many rows of it there are per batch


def _multiples(algorithm: Any, acting: Acting) -> Multiples:
    """Return which sizes of the random numbers grow with the batch, from acting on 2 and 3."""
    (observation,) = observations(algorithm, 1)
    larger = Acting(algorithm, observation.repeat(1, 3, 1)).draws
    return [
        {axis: more - size for axis, (size, more) in enumerate(sizes) if more != size}
        for sizes in (
            list(zip(one.shape, other.shape, strict=True))
            for one, other in zip(acting.draws, larger, strict=True)
        )
    ]


def _any_batch(multiples: Multiples) -> tuple[Any, ...]:
    """Return the sizes of the inputs that may vary, by their places: torch 2.6 mistakes names."""
    batch = torch.export.Dim(BATCH, min=1)
    numbers = tuple(
        {axis: batch if count == 1 else count * batch for axis, count in axes.items()}
        for axes in multiples
    )
    return ({1: batch}, numbers) if numbers else ({1: batch},)


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
        action = exported.evaluate(joint.numpy(), numbers)[:, 0]
        largest = max(largest, float(np.abs(action - expected).max()))
    for rows in BATCHES if exported.dynamic else ():
        joint = torch.cat(list(observations(algorithm, rows)), dim=1)  # (N, rows, O)
        acting = Acting(algorithm, joint)
        numbers = _drawn(random, acting)
        with torch.no_grad():
            batched = acting(joint, *map(torch.from_numpy, numbers)).numpy()
        difference = np.abs(exported.evaluate(joint.numpy(), numbers) - batched).max()
        largest = max(largest, float(difference))
    return largest
