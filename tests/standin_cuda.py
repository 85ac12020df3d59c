"""A GPU's stand-in: tensors that say they lie on the device `gpu:0` and compute on the CPU.

An operation on tensors of both devices fails as it does with a GPU, and so do a generator of the
other device, `numpy()` and the address of a tensor that the host may not read. Everything else has
its values, so that whole cells run and end in the numbers of the CPU. What it cannot show: kernels
of CUDA and their rounding, streams, graphs, and the time that anything takes.

`register` changes torch for good: use it in a process of its own.
"""

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import torch
from torch.autograd import forward_ad
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from algorithms.device import cuda

NAME = "gpu"  # torch's device of a private backend, renamed: without CUDA there is no other
aten = torch.ops.aten
# Operations that move tensors between devices, as `to`, `cpu` and `copy_` do.
CROSSING = {aten._to_copy.default, aten.copy_.default, aten._foreach_copy_.default}
WAITS = {aten._local_scalar_dense.default, aten.nonzero.default}


class GpuTensor(torch.Tensor):
    """A tensor that says it lies on the GPU; `held` has its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "GpuTensor":
        return torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, layout=held.layout, device=torch.device(NAME, 0), requires_grad=False,
        )  # fmt: skip

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        return compute(function, args, kwargs or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.detach().__reduce_ex__(protocol)

    @property
    def data(self) -> "GpuTensor":
        return GpuTensor(self.held.detach())

    @data.setter
    def data(self, other: "GpuTensor") -> None:
        torch.Tensor.data.__set__(self, other)
        self.held = other.held

    def __deepcopy__(self, memo: dict[int, Any]) -> "GpuTensor":
        if id(self) not in memo:
            held = copy.deepcopy(self.held, memo)  # views of one buffer stay so
            copied = GpuTensor(held).requires_grad_(self.requires_grad)
            vars(copied).update({key: one for key, one in vars(self).items() if key != "held"})
            memo[id(self)] = copied
        return memo[id(self)]

    def __repr__(self) -> str:
        return f"GpuTensor({self.held!r})"

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert gpu:0 device type tensor to numpy. Use Tensor.cpu()")

    def tolist(self) -> Any:
        wait("tolist")
        return self.held.tolist()

    def __array__(self, *args: Any) -> Any:
        return self.numpy()

    def data_ptr(self) -> int:
        raise RuntimeError("the host may not read the memory of the GPU")


class Standin(TorchDispatchMode):
    """Sends what is made on the GPU to the stand-in, and counts where the host waits."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        return compute(function, args, kwargs or {})


waited: Counter[str] = Counter()
wait_mode = {"mode": 0}


def wait(what: str) -> None:
    """Count a wait of the host, or refuse it, as torch's sync debug mode does."""
    waited[what] += 1
    if wait_mode["mode"] == 2:
        raise RuntimeError(f"called a synchronizing CUDA operation ({what})")


# Arguments of operations nest tuples, lists and dictionaries alone; torch's own functions for all
# kinds of trees take longer than the operations.
def leaves(values: Any, into: list[Any]) -> list[Any]:
    """Add what lies in a tree to a list."""
    for value in values:
        kind = type(value)
        if kind is list or kind is tuple:
            leaves(value, into)
        elif kind is dict:
            leaves(value.values(), into)
        else:
            into.append(value)
    return into


def mapped(wanted: type, change: Any, value: Any) -> Any:
    """Change what is of a kind, however deep it lies."""
    kind = type(value)
    if kind is list or kind is tuple:
        return kind([mapped(wanted, change, part) for part in value])
    if kind is dict:
        return {key: mapped(wanted, change, part) for key, part in value.items()}
    return change(value) if isinstance(value, wanted) else value


def compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU; its results lie where a GPU would have put them."""
    flat = leaves((args, kwargs), [])
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    on_gpu = [value for value in tensors if isinstance(value, GpuTensor)]
    here = [value for value in tensors if not isinstance(value, GpuTensor) and value.dim() > 0]
    if on_gpu and here and function not in CROSSING:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, gpu:0 "
            f"and cpu! (in {function})"
        )
    asked = kwargs.get("device")
    target = torch.device(asked).type if asked is not None else None
    if (function in WAITS and on_gpu) or (on_gpu and target == "cpu"):
        wait(str(function))
    lands = target == NAME or (target is None and bool(on_gpu))
    if function in CROSSING and target is None and isinstance(args[0], torch.Tensor):
        lands = isinstance(args[0], GpuTensor)
    _check_generators(flat, lands, function)
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner = mapped(GpuTensor, lambda value: value.held, (args, kwargs))
    with torch._C._AutoDispatchBelowAutograd(), forward_ad._set_fwd_grad_enabled(False):
        result = function(*inner[0], **inner[1])
    if not lands:
        return result
    wrapped = mapped(torch.Tensor, GpuTensor, result)
    if not on_gpu:
        return wrapped
    return _aliased(function, args, kwargs, wrapped)


def _aliased(function: Any, args: Any, kwargs: Any, result: Any) -> Any:
    """Return the argument itself where an operation writes into it."""
    written = [
        (kwargs.get(argument.name, args[at] if at < len(args) else None))
        for at, argument in enumerate(function._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    returned = function._schema.returns
    if (
        written
        and returned
        and all(one.alias_info is not None and one.alias_info.is_write for one in returned)
    ):
        return written[0] if len(returned) == 1 else tuple(written)
    return result


class Generator(torch._C.Generator):
    """A generator that may say it lies on the GPU."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        return super().__new__(cls, "cpu")

    def __init__(self, device: Any = "cpu") -> None:
        self.place = torch.device(device)
        if self.place.type == NAME:
            gpu_generators.add(self._cdata)  # torch makes other Python objects for the same one

    def __del__(self) -> None:
        gpu_generators.discard(self._cdata)  # the next one may get the same address

    @property
    def device(self) -> torch.device:
        return self.place


gpu_generators: set[int] = set()


def _check_generators(flat: list[Any], on_gpu: bool, function: Any) -> None:
    wanted = NAME if on_gpu else "cpu"
    for value in flat:
        if isinstance(value, torch._C.Generator):
            own = NAME if value._cdata in gpu_generators else "cpu"
            if own != wanted:
                raise RuntimeError(
                    f"Expected a '{wanted}' device type for generator but found '{own}' "
                    f"(in {function})"
                )


class Driver:
    """What `torch.cuda` answers; `calls` says how often each function was asked."""

    PEAKS: ClassVar = {"max_memory_allocated": 300_000_000, "max_memory_reserved": 400_000_000}
    ANSWERS: ClassVar[dict[str, Any]] = {
        **PEAKS, "is_available": True, "get_device_name": "Stand-in GPU", "current_device": 0,
        "get_device_properties": SimpleNamespace(uuid="12345678-1234-1234-1234-123456789abc"),
        "mem_get_info": (2**33, 2**34), "memory_allocated": 1_000_000,
        "memory_reserved": 2_000_000, "synchronize": None, "empty_cache": None,
        "reset_peak_memory_stats": None, "get_sync_debug_mode": 0,
    }  # fmt: skip

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def set_sync_debug_mode(self, mode: int) -> None:
        self.calls["set_sync_debug_mode"] += 1
        wait_mode["mode"] = mode

    def __getattr__(self, name: str) -> Any:
        if name not in self.ANSWERS:
            raise AttributeError(f"the stand-in has no torch.cuda.{name}")

        def answer(*_: Any, **__: Any) -> Any:
            self.calls[name] += 1
            return self.ANSWERS[name]

        return answer


def register() -> None:
    """Let torch know the device: once, and before the first backward pass in the process.

    That pass starts a thread for each device that there is.
    """
    module = backend_registration._DummyBackendModule()
    module.get_rng_state = lambda device: torch.empty(0)
    module.set_rng_state = lambda state, device: None
    backend_registration._setup_privateuseone_for_python_backend(NAME, module)


def _made_here(make: Any) -> Any:
    """Return what makes a tensor on the CPU and moves it: torch hides this from modes."""

    def tensor(*values: Any, device: Any = None, **named: Any) -> Any:
        made = make(*values, **named)
        return made if device is None else made.to(device)

    return tensor


@contextlib.contextmanager
def installed() -> Iterator[Driver]:
    """Put the stand-in in the place of CUDA, and yield its driver."""
    driver = Driver()
    proxy = SimpleNamespace(
        **{name: getattr(torch, name) for name in ("device", "Tensor", "Generator")},
        OutOfMemoryError=torch.OutOfMemoryError, cuda=driver,
    )  # fmt: skip
    with (
        mock.patch.object(cuda, "is_cuda", lambda device: torch.device(device).type == NAME),
        mock.patch.object(torch, "Generator", Generator),
        mock.patch.object(torch, "tensor", _made_here(torch.tensor)),
        mock.patch.object(torch, "as_tensor", _made_here(torch.as_tensor)),
        mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
        mock.patch.object(cuda, "torch", proxy),
        Standin(),
    ):
        yield driver
