"""A changed algorithm must say so: by a new version, or by a hash recorded on purpose."""

import json

import pytest

import algorithms
from tests.algorithms.versions import RECORD, present


@pytest.mark.parametrize("name", algorithms.names())
def test_source_and_version_change_together(name: str) -> None:
    recorded = json.loads(RECORD.read_text())
    now = present(name)
    assert name in recorded, "new algorithm: run `python -m tests.algorithms.versions`"
    assert recorded[name] == now, (
        f"the source of {name} differs from what version {recorded[name]['version']} was recorded "
        "with: raise its version if its numbers change, then run "
        "`python -m tests.algorithms.versions`"
    )
