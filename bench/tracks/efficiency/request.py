"""The request of `measure`: its flags, checked, and the settings of a size. Torch-free."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import algorithms
import datasets
from algorithms.kernels.choice import CHOICES
from bench.errors import BenchError
from bench.outside import Overrides, Settings
from bench.plan import flags, presets, resolve
from bench.tracks.efficiency import sizes
from bench.tracks.efficiency.sizes import Size
from bench.training import devices

TASK = "mpe/spread"


@dataclasses.dataclass(frozen=True)
class Request:
    """What to measure; `make_request` checks it."""

    algorithms: tuple[str, ...]
    sizes: tuple[Size, ...]
    rounds: int
    preset: str
    overrides: Overrides
    threads: int
    seconds: float
    device: str  # cpu or cuda
    environment: dict[str, str]  # environment variables that select the device
    kernels: tuple[str, ...] = ("auto",)
    replicas: tuple[int, ...] = (1,)

    @property
    def variants(self) -> list[tuple[str, int]]:
        """Return how updates are timed, kernels and seeds trained together; the base is first."""
        return list(itertools.product(self.kernels, self.replicas))


def key_of(name: str, size: Size) -> str:
    """Return the file's key of an algorithm at a size."""
    return f"{name}, {size.label}"


def make_request(
    algos: str,
    agents: str,
    batch: str,
    hidden: str | None,
    set_: Sequence[str],
    kernels: str = "auto",
    replicas: str = "1",
    **options: Any,
) -> Request:
    """Return the request that the flags describe; BenchError or AlgorithmError for wrong flags."""
    names = flags.parse_names(algos, "--algos")
    for name in names:
        algorithms.row(name)
    overrides = flags.parse_overrides(set_)
    resolve.check_overrides(overrides, names)
    for key in overrides:
        if key.startswith("run."):
            raise BenchError(
                f"--set {key} has no effect on a measurement: leave it out; --batch sets the batch"
            )
    layers = () if hidden is None else sizes.parse_layers(hidden, "--hidden")
    taken = [key for key in overrides if key.split(".")[1] in ("hidden", "critic_hidden")]
    if layers and taken:
        raise BenchError(f"--hidden and --set {taken[0]} both give widths: use one of them")
    counts = sizes.parse_numbers(agents, "--agents")
    for count in counts:
        datasets.load_task(TASK, agents=count)
    varied = sizes.around(counts, sizes.parse_numbers(batch, "--batch"), layers)
    device, environment = _device(options.pop("device"))
    request = Request(
        names,
        tuple(varied),
        overrides=overrides,
        device=device,
        environment=environment,
        kernels=_kernels(kernels),
        replicas=_replicas(replicas),
        **options,
    )
    for name in names:
        for size in varied:
            settings_of(request, name, size)
    return request


def _kernels(text: str) -> tuple[str, ...]:
    """Read `--kernels`."""
    names = flags.parse_names(text, "--kernels")
    for name in names:
        if name not in CHOICES:
            raise BenchError(f"--kernels {name!r} is not one of {', '.join(CHOICES)}")
    return names


def _replicas(text: str) -> tuple[int, ...]:
    """Read `--replicas`: one seed alone is what others are compared with."""
    counts = sizes.parse_numbers(text, "--replicas")
    if counts[0] != 1:
        raise BenchError(f"--replicas {text!r} does not begin with 1: give --replicas 1,5")
    return counts


def _device(device: str) -> tuple[str, dict[str, str]]:
    """Return the device and the environment that selects it: the first usable GPU, or the CPU."""
    from bench.launchers.base import usable_gpus

    devices.check(device, ("auto", "cpu", "cuda"))
    uuids = usable_gpus(device)
    devices.require_gpu(device, uuids)
    if uuids:
        return "cuda", {"CUDA_VISIBLE_DEVICES": uuids[0]}
    return "cpu", {"CUDA_VISIBLE_DEVICES": ""}


def settings_of(request: Request, name: str, size: Size) -> Settings:
    """Return an algorithm's settings at a size, as plain values.

    The size sets the widths of policy and critic. Trajectory methods take as many windows per
    transition of the batch as in the preset. Everything else comes from the preset and `--set`.
    """
    preset = presets.load(request.preset)
    fields = {field.name for field in dataclasses.fields(algorithms.settings_class(name))}
    changes = dict(request.overrides)
    if size.hidden is not None:
        for key in {"hidden", "critic_hidden"} & fields:
            changes[f"{name}.{key}"] = list(size.hidden)
    run_ = resolve.resolve_run(preset, {})
    settings = resolve.resolve_settings(name, preset, changes, run_.updates)
    if "windows" in settings and f"{name}.windows" not in changes:
        share = size.batch / run_.batch_size
        settings["windows"] = max(1, round(settings["windows"] * share))
    return settings
