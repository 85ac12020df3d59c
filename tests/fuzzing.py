"""Broken and hostile inputs for the fuzz tests, many per second and repeatable.

hypothesis draws a seed per batch; a batch holds `BATCH` inputs made from it. `OM2P_BENCH_FUZZ=N`
runs every fuzz test with N inputs; without it they get a few hundred.
"""

import json
import math
import os
import random
import string
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from algorithms.errors import AlgorithmError
from bench.errors import BenchError
from datasets.errors import DatasetError

OURS = (BenchError, AlgorithmError, DatasetError)
BATCH = 50
INPUTS = int(os.environ.get("OM2P_BENCH_FUZZ", "300"))
WORDS = (
    "", " ", "nan", "-1", "0", "true", "null", "inf", "1e999", "../../etc/passwd", "/dev/zero",
    "\0", "<script>alert(1)</script>", "\\input{/etc/passwd}", "%s%n", "{{7*7}}", "\ud800", "é",
    "=1+1",
    "x" * 300, "om2p", "mpe/spread/expert", "done", "omar", "[", "{", '"',
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 1e308, -1e308, 5e-324, 2**31, 2**63, 2**64, 10**30, 10**400, math.nan, math.inf,
    -math.inf, 0.5, -0.0,
)  # fmt: skip


def fuzz(test: Callable[..., None]) -> Any:
    """Run a test, which takes `inputs`, with `INPUTS` of them in batches."""
    batches = math.ceil(INPUTS / BATCH)
    decorate = settings(
        max_examples=batches,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),  # a batch is its seed: there is nothing to shrink
        suppress_health_check=list(HealthCheck),
    )
    seeds = st.integers(0, 2**63).map(Inputs)
    return decorate(given(inputs=seeds)(test))


def refused(work: Callable[[], Any], given_input: Any = None) -> str:
    """Do something that may be refused; return the sentence, and let nothing else pass.

    given_input: the input, shown if something else is raised.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            work()
        except OURS as error:
            sentence = str(error)
            assert sentence.strip(), "an error without a sentence"
            return sentence
        except BaseException as error:
            error.add_note(f"the input was {given_input!r:.2000}")
            raise
    return ""


class Inputs:
    """A batch of inputs that follow from one seed."""

    def __init__(self, seed: int) -> None:
        """Prepare `BATCH` inputs."""
        self.seed, self._dice = seed, random.Random(seed)

    def __repr__(self) -> str:
        return f"Inputs({self.seed})"

    def __iter__(self) -> Iterator[random.Random]:
        """Yield the dice once per input."""
        for _ in range(BATCH):
            yield self._dice

    def value(self, depth: int = 3) -> Any:
        """Return any JSON value, difficult ones more often."""
        dice = self._dice
        kind = dice.randrange(9 if depth else 6)
        if kind > 7:
            return [self.value(depth - 1) for _ in range(dice.randrange(4))]
        if kind > 5:
            return {str(self.value(0)): self.value(depth - 1) for _ in range(dice.randrange(4))}
        plain = dice.uniform(-1e3, 1e3) if dice.random() < 0.5 else dice.randrange(-100, 10**6)
        printable = "".join(dice.choices(string.printable, k=dice.randrange(12)))
        words, numbers = dice.choice(WORDS), dice.choice(NUMBERS)
        return (dice.choice((None, True, False)), numbers, plain, words, words, printable)[kind]

    def bytes(self, limit: int = 200) -> bytes:
        """Return any bytes, at times deeply nested brackets."""
        if self._dice.random() < 0.02:
            return self._dice.choice((b"[", b'{"a":', b"(")) * 20_000
        return self._dice.randbytes(self._dice.randrange(limit))

    def mutated(self, content: bytes) -> bytes:
        """Return a damaged copy: bits, cuts, copies, strange words and numbers."""
        dice, mutated = self._dice, bytearray(content)
        for _ in range(dice.randrange(1, 5)):
            place = dice.randrange(len(mutated) + 1)
            end = min(len(mutated), place + dice.choice((1, 2, 4, 8, 64)))
            what = dice.randrange(7)
            if what == 0 and place < len(mutated):
                mutated[place] ^= 1 << dice.randrange(8)
            elif what == 1:
                mutated[place:end] = dice.randbytes(end - place)
            elif what == 2:
                del mutated[place:end]
            elif what == 3:
                mutated[place:place] = mutated[dice.randrange(len(mutated) + 1) :][: end - place]
            elif what == 4:
                word = dice.choice((*WORDS, *map(str, NUMBERS)))
                mutated[place:end] = word.encode(errors="surrogatepass")
            elif what == 5:
                mutated[place:end] = dice.choice((b"\xff", b"\0", b"\x7f")) * (end - place)
            elif dice.random() < 0.3:
                del mutated[place:]
        return bytes(mutated)

    def damaged(self, tree: Any, times: int = 3) -> Any:
        """Return a copy of nested dictionaries with up to `times` values replaced or gone."""
        copy = dict(tree)
        for _ in range(self._dice.randrange(1, times + 1)):
            place = copy
            while place:
                key = self._dice.choice(list(place))
                inner = place[key]
                if not isinstance(inner, dict) or not inner or self._dice.random() < 0.25:
                    if self._dice.random() < 0.15:
                        del place[key]
                    else:
                        place[key] = self.value()
                    break
                place[key] = place = dict(inner)  # only what lies on the way is copied
        return copy

    def json(self, tree: Any = None) -> bytes:
        """Return the text of a file that should be JSON: of any value, or `tree` with damage."""
        if tree is None or self._dice.random() < 0.3:
            tree = self.value()
        elif self._dice.random() < 0.7:
            tree = self.damaged(tree)
        text = json.dumps(tree).encode()
        return self.mutated(text) if self._dice.random() < 0.5 else text
