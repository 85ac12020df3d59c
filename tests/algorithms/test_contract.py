"""What every algorithm in the table must do. New algorithms are picked up by being listed.

The checks themselves lie in `algorithms.contract.checks`: authors of plug-ins run them too.
"""

import pytest

import algorithms
from algorithms.contract import checks, suite
from algorithms.errors import AlgorithmError

NAMES = algorithms.names()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_contract(check: suite.Check, name: str) -> None:
    try:
        check(suite.Subject(name))
    except suite.Skip as reason:
        pytest.skip(str(reason))


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(AlgorithmError, match="did you mean om2p"):
        algorithms.row("om2pp")
