"""Behaviour policies as stored: one small network per team or per agent in a safetensors file."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from datasets.errors import DatasetError


class Actor:
    """A team policy: observations (E, N, O) -> actions (E, N, A) in [-1, 1].

    Dense layers with ReLU, squashed by tanh. Where the agents share one network, stored weights
    are (in, out) and biases (out,), and any leading shape (..., O) will do; where each has its
    own, they are (N, in, out) and (N, out). ``reading`` (N, O) is the order in which each agent
    reads the numbers of its observation, where agents that share one network differ in it.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], reading: Tensor | None = None) -> None:
        self.layers, self.reading = layers, reading

    def __call__(self, observation: Tensor) -> Tensor:
        """Return the noise-free action for every observation."""
        x = observation
        if self.reading is not None:
            x = x.gather(-1, self.reading.expand(*x.shape[:-2], -1, -1))
        for index, (weight, bias) in enumerate(self.layers):
            if weight.dim() == 2:
                x = torch.matmul(x, weight) + bias
            else:
                x = torch.baddbmm(bias[:, None], x.transpose(0, 1), weight).transpose(0, 1)
            if index < len(self.layers) - 1:
                x = F.relu(x)
        return torch.tanh(x)

    @property
    def shared(self) -> bool:
        """Tell whether one network acts for all agents."""
        return self.layers[0][0].dim() == 2

    def to(self, device: str | torch.device, dtype: torch.dtype) -> "Actor":
        """Return a copy on ``device`` in ``dtype``."""
        reading = None if self.reading is None else self.reading.to(device)
        return Actor([(w.to(device, dtype), b.to(device, dtype)) for w, b in self.layers], reading)

    def rounded(self) -> "Actor":
        """Return a copy whose numbers fit half precision, so that storing them so loses nothing."""
        return Actor([(w.half().float(), b.half().float()) for w, b in self.layers], self.reading)


def save_snapshots(
    path: Path,
    snapshots: dict[str, Actor],
    metadata: dict[str, str],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write named actors into one safetensors file; metadata values are strings."""
    tensors = {
        f"{name}.{kind}{index}": tensor.to(dtype, copy=True).contiguous()
        for name, actor in snapshots.items()
        for index, layer in enumerate(actor.layers)
        for kind, tensor in zip(("weight", "bias"), layer, strict=True)
    }
    for name, actor in snapshots.items():
        if actor.reading is not None:
            tensors[f"{name}.reading"] = actor.reading.to(torch.int16).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)


def load_snapshots(path: Path) -> tuple[dict[str, Actor], dict[str, str]]:
    """Read the actors and metadata that :func:`save_snapshots` wrote."""
    if not path.is_file():
        raise DatasetError(
            f"behaviour policies are missing at {path}; "
            "train them with `python -m bench data train`."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DatasetError(
            f"the policy file {path} cannot be read ({error}); reinstall om2p-bench or retrain it."
        ) from error
    names = sorted({key.split(".")[0] for key in tensors})
    actors = {}
    for name in names:
        depth = sum(key.startswith(f"{name}.weight") for key in tensors)
        layers = [
            (tensors[f"{name}.weight{i}"].float(), tensors[f"{name}.bias{i}"].float())
            for i in range(depth)
        ]
        reading = tensors.get(f"{name}.reading")
        actors[name] = Actor(layers, None if reading is None else reading.long())
    return actors, metadata
