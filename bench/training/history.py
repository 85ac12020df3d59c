"""The parts in which a cell was trained, interruptions between them, and how each part ran.

Times, energy and peaks of a cell are sums over its parts: they are figures of one way of running
only where all parts ran alike. A part whose updates were lost with it leaves no trace, because the
history travels in the checkpoint.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bench.results.record import TrainedPart

# What a part says besides where it began, and how a difference reads.
CONDITIONS: dict[str, Callable[[Any], str]] = {
    "machine_class": lambda value: f"on {value}",
    "shared": lambda value: "beside other cells on its GPU" if value else "without other cells",
    "replicas": lambda value: f"{value} seeds together" if value != 1 else "one seed alone",
    "cuda_graphs": lambda value: "with CUDA graphs" if value else "without CUDA graphs",
}
UNKNOWN = "an earlier part does not say how it ran"


class History:
    """The earlier parts of a cell, and the present one."""

    def __init__(self, earlier: Sequence[TrainedPart] = ()) -> None:
        """Continue from the parts that a checkpoint holds."""
        self._earlier = list(earlier)
        self._present: TrainedPart = {}

    def say(self, present: TrainedPart) -> None:
        """Say how the present part runs."""
        self._present = present

    def continue_with(self, replicas: int, from_update: int) -> None:
        """End the present part; in the next another number of seeds is trained together."""
        self._earlier.append(self._present)
        self.say({**self._present, "from_update": from_update, "replicas": replicas})

    def parts(self) -> list[TrainedPart]:
        """Return all parts, those that ran alike one after the other as one."""
        parts: list[TrainedPart] = []
        for part in (*self._earlier, self._present):
            if not parts or any(parts[-1].get(key) != part.get(key) for key in CONDITIONS):
                parts.append(part)
        return parts

    def shared(self) -> bool | None:
        """Tell whether other cells used the GPU at any time; None where a part does not say."""
        return _any([part.get("shared") for part in self.parts()])

    def cuda_graphs(self) -> bool | None:
        """Tell whether updates were replayed at any time; None where a part does not say."""
        return _any([part.get("cuda_graphs") for part in self.parts()])

    def replicas(self) -> int:
        """Return the most seeds that were ever trained together."""
        return max(part.get("replicas") or 1 for part in self.parts())

    def mixed(self) -> str | None:
        """Say in which ways the parts ran differently; None where they ran alike."""
        parts = self.parts()
        if len(parts) == 1:
            return None
        ways = []
        for key, words in CONDITIONS.items():
            values = list(dict.fromkeys(part.get(key) for part in parts))
            if None in values:
                return UNKNOWN
            if len(values) > 1:
                ways.append(" and ".join(words(value) for value in values))
        return "; ".join(ways)


def _any(values: list[bool | None]) -> bool | None:
    """Return whether any value is true; None where none is and one is not known."""
    return True if any(values) else None if None in values else False
