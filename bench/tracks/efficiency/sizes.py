"""The sizes to measure at: agents, batch and hidden layers, varied one at a time."""

import dataclasses
import re
from collections.abc import Sequence

from bench.errors import BenchError
from bench.tracks.efficiency.samples import SizeValues

MOST = 10**6
AXES = ("agents", "batch", "hidden")


@dataclasses.dataclass(frozen=True)
class Size:
    """Number of agents in `mpe/spread`, transitions per update, and hidden layers.

    hidden: the widths of policy and critic; None for those of the preset.
    """

    agents: int
    batch: int
    hidden: tuple[int, ...] | None

    @property
    def label(self) -> str:
        """Return the size in words, as in tables and in the file's keys."""
        layers = "" if self.hidden is None else f", hidden {layers_text(self.hidden)}"
        return f"{self.agents} agents, batch {self.batch}{layers}"

    def as_dict(self) -> SizeValues:
        """Return plain JSON values."""
        hidden = None if self.hidden is None else list(self.hidden)
        return {"agents": self.agents, "batch": self.batch, "hidden": hidden}


def from_dict(values: SizeValues) -> Size:
    """Return the size that `as_dict` wrote."""
    hidden = values["hidden"]
    return Size(values["agents"], values["batch"], None if hidden is None else tuple(hidden))


def layers_text(hidden: Sequence[int]) -> str:
    """Return layers as a short text: 256x2, or 256-128 where the widths differ."""
    if len(set(hidden)) == 1:
        return f"{hidden[0]}x{len(hidden)}"
    return "-".join(map(str, hidden))


def parse_numbers(text: str, flag: str) -> tuple[int, ...]:
    """Read a comma list of whole numbers; repeated ones count once."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(re.fullmatch(r"[0-9]{1,7}", part) for part in parts):
        raise BenchError(f"{flag} {text!r} is not a list of whole numbers: give one such as 3,8")
    numbers = tuple(dict.fromkeys(int(part) for part in parts))
    if not all(1 <= number <= MOST for number in numbers):
        raise BenchError(f"{flag} {text!r} has a number outside 1 to {MOST}: give other numbers")
    return numbers


def parse_layers(text: str, flag: str) -> tuple[tuple[int, ...], ...]:
    """Read a comma list of layers, WIDTHxDEPTH each; repeated ones count once."""
    layers = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,2})", part)
        if not match or not int(match[1]) or not int(match[2]):
            raise BenchError(f"{flag} {part!r} is not WIDTHxDEPTH: give layers such as 256x2,64x2")
        layers.append((int(match[1]),) * int(match[2]))
    if not layers:
        raise BenchError(f"{flag} names no layers: give some such as 256x2,64x2")
    return tuple(dict.fromkeys(layers))


def around(
    agents: Sequence[int], batch: Sequence[int], hidden: Sequence[tuple[int, ...]]
) -> list[Size]:
    """Return the base size (the first of each list) and the sizes that differ from it in one.

    A full grid would multiply the time and add nothing to the fitted exponents.
    """
    layers: list[tuple[int, ...] | None] = [*hidden] or [None]
    base = Size(agents[0], batch[0], layers[0])
    return [
        base,
        *(dataclasses.replace(base, agents=count) for count in agents[1:]),
        *(dataclasses.replace(base, batch=rows) for rows in batch[1:]),
        *(dataclasses.replace(base, hidden=widths) for widths in layers[1:]),
    ]
