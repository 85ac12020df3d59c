"""What disturbs a team while it plays: wrappers of the environment, and the table that lists them.

A perturbation changes what agents observe, what their actions do, or the world itself. It keeps
padding zero, draws from generators of its own, and gives no agent what another one sees. May import
environments, tasks, `datasets.rollout` and `datasets.protocol`. Start with `table`.
"""

from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "Family": "datasets.perturb.table",
    "Scene": "datasets.perturb.scene",
    "generator": "datasets.perturb.scene",
    "register": "datasets.perturb.table",
}

__all__ = ["Family", "Scene", "generator", "register"]

if TYPE_CHECKING:
    from datasets.perturb.scene import Scene, generator
    from datasets.perturb.table import Family, register


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'datasets.perturb' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_EXPORTS[name]), name)
