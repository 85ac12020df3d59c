"""Small requests, subjects and made-up measurements for the tests of the efficiency track."""

from collections.abc import Sequence
from typing import Any

from bench.tracks.efficiency import document
from bench.tracks.efficiency.request import Request, make_request, settings_of
from bench.tracks.efficiency.sizes import Size
from bench.tracks.efficiency.subject import Subject

OBSERVATION, ACTION, BATCH, HIDDEN = 18, 2, 32, (24, 40)
SMALL = Size(3, BATCH, HIDDEN)


def request(algos: str = "bc,om2p", **changes: Any) -> Request:
    """Return a small request."""
    flags: dict[str, Any] = {
        "agents": "3", "batch": "32", "hidden": "8x2", "set_": [], "rounds": 2, "preset": "smoke",
        "threads": 1, "seconds": 0.02, "device": "cpu",
    }  # fmt: skip
    return make_request(algos, **{**flags, **changes})


def subject(
    name: str,
    size: Size = SMALL,
    variants: Sequence[tuple[str, int]] = (("auto", 1),),
    **changes: Any,
) -> Subject:
    """Return an algorithm at a size in this process."""
    settings = settings_of(request(name), name, size) | changes
    job = {"algorithm": name, "settings": settings, "agents": size.agents, "batch": size.batch}
    return Subject({**job, "device": "cpu", "variants": list(variants)})


def sample(round_: int, seconds: float, rate: float = 1e9) -> dict[str, Any]:
    return {
        "round": round_, "load": 0.5, "throttling": None, "calibration": [rate],
        "update": {"count": 1, "wall": [2 * seconds], "cpu": [seconds, 9.0, seconds]},
        "latency": [1e-4] * 98 + [2e-4, 5e-4], "throughput": [0.01, 0.02, 0.03],
    }  # fmt: skip


def made_up(hidden: str = "8x2") -> dict[str, Any]:
    """Return a measurement with made-up samples: om2p takes 1, 2, 3 ms, bc half of that."""
    made = document.new(request(hidden=hidden, rounds=3))
    made["machine"] = {"machine_class": "a machine"}
    for row in made["entries"]:
        share = 0.5 if row["algorithm"] == "bc" else 1.0
        width = row["size"]["hidden"][0]
        made["rounds"][row["key"]] = [sample(at, share * at * 1e-3 * width / 8) for at in (1, 2, 3)]
        made["costs"][row["key"]] = {
            "peak_tensor_bytes": share * width**2 * 2**20, "flops_update": width**2,
            "peak_split": {"activations": 2**20}, "memory": {"peak_rss_bytes": 300 * 2**20},
            "evaluations_update": {"total": 7.0}, "flops_act": 1000, "parameters_act": 500,
            "evaluations_act": {"total": 2.0},
        }  # fmt: skip
    return made
