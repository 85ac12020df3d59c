"""What every algorithm in the table must do. New algorithms are picked up by being listed.

The checks themselves lie in `algorithms.checks`, so that authors of plug-ins can run them too.
"""

import pytest

import algorithms
from algorithms import checks, contract
from algorithms.errors import AlgorithmError

NAMES = algorithms.names()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_contract(check: contract.Check, name: str) -> None:
    try:
        check(contract.Subject(name))
    except contract.Skip as reason:
        pytest.skip(str(reason))


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(AlgorithmError, match="did you mean om2p"):
        algorithms.row("om2pp")
