"""The frozen prey of Tag and World: which file, its identity, and the policy in it.

A prey's strength decides the scale of the predators' returns, so it is part of a task's identity:
the first 12 hex digits of its file's sha256. Two kinds of file are read. Ours is a safetensors
file with one actor called ``prey``. The published one (``pretrained_adv_model.pt`` of OMAR) is a
torch file that is opened with ``weights_only=True``: code in it is never run.

Importing this module loads neither torch nor numpy.
"""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.errors import DatasetError
from datasets.paths import expanded, sha256

if TYPE_CHECKING:
    from torch import Tensor

    from datasets.actors import Actor

EXTERNAL = "external"
SHIPPED = Path(__file__).parent / "prey"
SHIPPED_RULES = "omar"  # under which the shipped prey were trained
DIGITS = 12
ACTIONS = 2
NORM_EPSILON = 1e-5  # of torch's BatchNorm1d, with which the published prey was trained
NORM = ("weight", "bias", "running_mean", "running_var")
LAYERS = ("fc1", "fc2", "fc3")
CURE = "name OMAR's pretrained_adv_model.pt of this task, or a prey that om2p-bench has trained"


def shipped_path(task_id: str) -> Path:
    """Return where the shipped prey of a task lies."""
    return SHIPPED / f"{task_id.replace('/', '-')}.safetensors"


def identify(task_id: str, rules: str, prey: str | None) -> tuple[str, Path | None]:
    """Return a prey's identity and its file.

    prey: None for the shipped one, a file, or an identity; an identity that is not the shipped
    one's has no file. Raises DatasetError where there is no such prey.
    """
    shipped = shipped_path(task_id)
    if prey is None:
        if rules != SHIPPED_RULES:
            raise DatasetError(
                f"no prey ships for {task_id} under {rules} rules; name a file with --prey, or "
                f"control it yourself with prey='{EXTERNAL}'."
            )
        if not shipped.is_file():
            raise DatasetError(
                f"the prey of {task_id} is missing at {shipped}; reinstall om2p-bench, or name a "
                "file with --prey."
            )
        return _digest(shipped), shipped
    path = expanded(prey)
    if path.is_file():
        return _digest(path), path
    if not re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", prey):
        raise DatasetError(f"there is no prey file {path}; {CURE}.")
    known = shipped.is_file() and _digest(shipped) == prey
    return prey, shipped if known else None


def _digest(path: Path) -> str:
    try:
        return sha256(path)[:DIGITS]
    except OSError as error:
        raise DatasetError(f"the prey {path} cannot be read ({error.strerror}); {CURE}.") from error


def load(path: Path, identity: str, size: int) -> "Actor":
    """Return the policy in a prey file: observations (E, ``size``) -> actions (E, 2).

    Raises DatasetError where the file is not the one of ``identity`` any more, or no prey.
    """
    return _load(path.absolute(), identity, size)


@cache
def _load(path: Path, identity: str, size: int) -> "Actor":
    if _digest(path) != identity:
        raise DatasetError(
            f"the prey {path} has changed since it was chosen ({identity}); restart."
        )
    read = _read_ours if path.suffix == ".safetensors" else _read_published
    actor = read(path)
    _check(actor, path, size)
    return actor


def _read_ours(path: Path) -> "Actor":
    from datasets.actors import load_snapshots

    actors, _ = load_snapshots(path)
    if set(actors) != {"prey"}:
        names = ", ".join(sorted(actors)) or "nothing"
        raise DatasetError(f"{path} holds {names} instead of one actor called prey; {CURE}.")
    return actors["prey"]


def _read_published(path: Path) -> "Actor":
    """Read OMAR's file: the last agent's policy, its normalisation folded into the first layer."""
    import torch

    from datasets.actors import Actor

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not its own
        raise DatasetError(
            f"the prey {path} cannot be read as a torch file of plain weights "
            f"({type(error).__name__}); {CURE}."
        ) from error
    policy = _published_policy(content, path)
    mean, variance = policy["in_fn.running_mean"], policy["in_fn.running_var"]
    scale = policy["in_fn.weight"] / (variance + NORM_EPSILON).sqrt()
    shift = policy["in_fn.bias"] - mean * scale
    layers = [(policy[f"{name}.weight"].T, policy[f"{name}.bias"]) for name in LAYERS]
    weight, bias = layers[0]
    layers[0] = (scale[:, None] * weight, bias + shift @ weight)
    return Actor([(w.float().contiguous(), b.float()) for w, b in layers])


def _published_policy(content: Any, path: Path) -> "dict[str, Tensor]":
    """Return the prey's weights in float64, by name, once their names and shapes are right."""
    import torch

    try:
        agents = dict(content)["agent_params"]
        policy = dict(list(agents)[3]["policy"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise DatasetError(
            f"{path} has no agent_params[3]['policy'], where the published prey lies; {CURE}."
        ) from error
    policy.pop("in_fn.num_batches_tracked", None)
    shapes = _published_shapes(policy)
    for name in sorted(shapes.keys() | policy.keys()):
        value, expected = policy.get(name), shapes.get(name)
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else None
        if value is None or shape is None or shape != expected or not value.is_floating_point():
            raise DatasetError(
                f"{path} is not the published prey: its policy has {name} of shape {shape}, "
                f"expected {expected}; {CURE}."
            )
    return {name: value.double() for name, value in policy.items()}


def _published_shapes(policy: "dict[str, Any]") -> dict[str, tuple[int, ...]]:
    """Return the shapes that go with the file's own sizes: observation, two hidden, action."""

    def rows(name: str) -> int:
        shape = tuple(getattr(policy.get(name), "shape", ()))
        return int(shape[0]) if shape else 0

    seen, first, second = rows("in_fn.weight"), rows("fc1.weight"), rows("fc2.weight")
    sizes = ((first, seen), (second, first), (ACTIONS, second))
    shapes: dict[str, tuple[int, ...]] = {f"in_fn.{name}": (seen,) for name in NORM}
    for name, size in zip(LAYERS, sizes, strict=True):
        shapes |= {f"{name}.weight": size, f"{name}.bias": (size[0],)}
    return shapes


def _check(actor: "Actor", path: Path, size: int) -> None:
    """Refuse a policy that does not fit the prey's observation and action, or is not finite."""
    width = size
    for weight, bias in actor.layers:
        if weight.dim() != 2 or weight.shape[0] != width or bias.shape != weight.shape[1:]:
            raise DatasetError(
                f"the prey {path} has a layer of shape {list(weight.shape)} where {width} numbers "
                f"come in (its observation has {size}); name the prey of this task."
            )
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise DatasetError(f"the prey {path} holds NaN or infinity; {CURE}.")
        width = weight.shape[1]
    if not actor.layers or width != ACTIONS:
        raise DatasetError(f"the prey {path} gives {width} numbers instead of {ACTIONS}; {CURE}.")
