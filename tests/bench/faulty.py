"""Algorithms that misbehave on purpose, each a cloning algorithm with one fault.

Put on a process's path together with a `sitecustomize` that calls `register`, they are known to
the workers too.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

FAULT_AT = 30  # update


def register() -> None:
    """Add a row `bad-FAULT` per fault to the table of algorithms."""
    import algorithms

    for name in _FAULTS:
        algorithms.TABLE[f"bad-{name.lower()}"] = algorithms.Row(
            target=f"faulty:{name}", settings="BcSettings", version=1,
            summary=f"misbehaves: {name}", source="test", deviations="none",
        )  # fmt: skip


def __getattr__(name: str) -> Any:
    """Make the class of a fault when it is asked for, so that registering needs no torch."""
    if name not in _FAULTS:
        raise AttributeError(name)
    fault = _FAULTS[name]
    from algorithms.bc import Bc

    if name == "Peek":
        return type(name, (Bc,), {"act": _peek})
    if name == "Blind":
        return type(name, (Bc,), {"act": _blind})
    if name in ("Scalar", "Object"):
        return type(name, (Bc,), {"state_dict": _odd_state(name)})

    def update(self: Any, batch: Any) -> Any:
        metrics = Bc.update(self, batch)
        return fault(self, metrics) or metrics

    return type(name, (Bc,), {"update": update})


def _peek(self: Any, observation: Any, memory: Any = None, generators: Any = None) -> Any:
    """Act on what the other agents see, while declaring the opposite."""
    from algorithms.bc import Bc

    return Bc.act(self, observation + observation.mean(dim=0, keepdim=True), memory, generators)


def _blind(self: Any, observation: Any, memory: Any = None, generators: Any = None) -> Any:
    """Act on nothing in step 7 of the fourth episode, once trained, for the last seed alone."""
    from algorithms.bc import Bc

    action, _ = Bc.act(self, observation, None, generators)
    steps = (memory or 0) + 1
    if self.updates >= FAULT_AT and steps == 7:
        action[-self.num_agents :, 3] = float("nan")
    return action, steps


def _odd_state(name: str) -> Any:
    """Return a state_dict with what torch writes and does not read back."""
    import numpy as np

    from algorithms.bc import Bc

    def state_dict(self: Any) -> Any:
        odd = np.float64(0.5) if name == "Scalar" else [Path("here")]
        return {**Bc.state_dict(self), "mine": {"scale": odd}}

    return state_dict


def _raise(self: Any, metrics: Any) -> None:
    if self.updates == FAULT_AT:
        raise ZeroDivisionError("the plug-in divides\nby zero")


def _nan(self: Any, metrics: Any) -> Any:
    if self.updates >= FAULT_AT:
        return {name: value * float("nan") for name, value in metrics.items()}
    return None


def _hang(self: Any, metrics: Any) -> None:
    if self.updates == FAULT_AT:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)


def _noisy(self: Any, metrics: Any) -> None:
    if self.updates == FAULT_AT:
        for _ in range(50):
            sys.stdout.write("x" * 100_000 + "\n")
            sys.stdout.flush()
        if os.fork() == 0:  # and leaves a child behind
            Path(os.environ["FORKED"]).write_text(str(os.getpid()))
            time.sleep(3600)


def _greedy(self: Any, metrics: Any) -> None:
    if self.updates == FAULT_AT:
        self.hoard = bytearray(700 * 2**20)
        self.hoard[::4096] = b"x" * len(self.hoard[::4096])
        time.sleep(3600)


def _suicide(self: Any, metrics: Any) -> None:
    """End as if the system had killed it, once: the second attempt finds the marker."""
    marker = Path(os.environ["SUICIDE"])
    if self.updates == FAULT_AT and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _segfault(self: Any, metrics: Any) -> None:
    if self.updates == FAULT_AT:
        os.kill(os.getpid(), signal.SIGSEGV)


def _slow(self: Any, metrics: Any) -> None:
    """Take long enough to be ended, in a worker: nobody ends a cell of the test's own process."""
    if "bench.launchers.worker" in sys.orig_argv:
        time.sleep(0.03)


def _unlucky(self: Any, metrics: Any) -> Any:
    """Diverge with seed 1 only, whoever else is trained beside it."""
    import torch

    if self.updates < FAULT_AT:
        return None
    bad = torch.tensor([float("nan") if seed == 1 else 0.0 for seed in self.seeds])
    return {name: value + bad for name, value in metrics.items()}


def _picky(self: Any, metrics: Any) -> None:
    if self.updates == FAULT_AT and 1 in self.seeds:
        raise ZeroDivisionError("seed 1 divides by zero")


def _fragile(self: Any, metrics: Any) -> None:
    """End the whole process with seed 1."""
    if self.updates == FAULT_AT and 1 in self.seeds:
        os.kill(os.getpid(), signal.SIGSEGV)


def _hungry(self: Any, metrics: Any) -> None:
    """Hold memory for every seed, too much for two of them together."""
    if self.updates == FAULT_AT:
        self.hoard = bytearray(400 * 2**20 * len(self.seeds))
        self.hoard[::4096] = b"x" * len(self.hoard[::4096])
        time.sleep(1.5 if len(self.seeds) == 1 else 3600)


_FAULTS = {
    "Raise": _raise, "Nan": _nan, "Hang": _hang, "Noisy": _noisy, "Peek": _peek,
    "Greedy": _greedy, "Suicide": _suicide, "Segfault": _segfault, "Slow": _slow,
    "Unlucky": _unlucky, "Picky": _picky, "Fragile": _fragile, "Hungry": _hungry, "Blind": None,
    "Scalar": None, "Object": None,
}  # fmt: skip
