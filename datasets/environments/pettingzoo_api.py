"""The earlier place of `datasets.TeamEnv`, so that programs which name it go on working."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("datasets.adapters.team_env"), name)
