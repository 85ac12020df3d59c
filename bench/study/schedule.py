"""Which cells of a study are trained together and in which order, for `run` and `plan` alike."""

import dataclasses
from typing import Any

from bench.meters import machine
from bench.plan import groups
from bench.plan.config import RunConfig
from bench.plan.estimate import Estimator
from bench.plan.grid import Cell
from bench.plan.groups import Schedule
from bench.results.record import CHECKPOINT
from bench.study.resume import StudyPlan, starts_over


def estimator(planned: StudyPlan, config: RunConfig) -> Estimator:
    """Return estimates from the finished cells of the results folder, on this class of machine."""
    kernels = str(config.overrides.get("run.kernels", "auto"))
    worker_class = machine.worker_class(config.threads, kernels)
    return Estimator(planned.all_records.values(), worker_class)


def schedule(planned: StudyPlan, config: RunConfig, places: int) -> Schedule:
    """Return the cells that have to run in groups for `places` workers, the longest group first.

    Where a plan has rounds, all groups of one start before those of the next.
    """

    def state(cell: Cell) -> Any:
        """Return what cells must have in common to be trained together: a start or a checkpoint."""
        record = planned.records.get(cell.id)
        saved = (planned.folder / cell.id / CHECKPOINT).exists()
        update = record.updates_done if saved and record is not None else None
        return from_scratch(planned, config, cell), saved, update

    costs = groups.costs(planned.todo, estimator(planned, config))
    made = groups.schedule(planned.todo, places, costs, config.replicas == "auto", state)
    in_rounds = sorted(made.groups, key=lambda group: planned.rounds.get(group[0].id, 0))
    return dataclasses.replace(made, groups=in_rounds)


def from_scratch(planned: StudyPlan, config: RunConfig, cell: Cell) -> bool:
    """Tell whether a cell starts over instead of from its checkpoint."""
    return config.resume in ("never", "always") or starts_over(planned.records.get(cell.id))
