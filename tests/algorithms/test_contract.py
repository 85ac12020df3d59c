"""What every algorithm in the table must do. New algorithms are picked up by being listed.

The checks themselves are in `algorithms.contract`: authors of plug-ins run them too.
"""

import pytest

import algorithms
from algorithms.contract import suite
from algorithms.contract.subject import Check, Skip, Subject
from algorithms.errors import AlgorithmError

SUBJECTS = {name: Subject(name) for name in algorithms.names()}


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("check", suite.CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Check, name: str) -> None:
    try:
        check(SUBJECTS[name])
    except Skip as reason:
        pytest.skip(str(reason))


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(AlgorithmError, match="did you mean om2p"):
        algorithms.row("om2pp")
