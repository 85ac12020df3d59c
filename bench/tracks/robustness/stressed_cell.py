"""One cell under perturbations: what is missing, and the evaluations that fill it."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench.errors import BenchError
from bench.policies import checkpointed
from bench.results import store
from bench.results.record import Record
from bench.results.robustness import rows as robustness
from bench.results.robustness.rows import Row
from bench.tracks.robustness.attackable import Differentiable
from bench.training.evaluation import Evaluation, evaluate, team_act
from datasets.perturb.scene import Scene, generator
from datasets.perturb.table import Family, family
from datasets.protocol import Protocol
from datasets.rollout import Act

Report = Callable[[str, float], None]  # the perturbation that is done, and what it cost


@dataclasses.dataclass(frozen=True)
class Job:
    """A cell, and the levels of each perturbation that are still to be played."""

    folder: Path
    cell: str
    algorithm: str
    dataset: str
    seed: int
    episodes: int
    levels: dict[str, tuple[int, ...]]  # by the perturbation's name
    cost: float  # in plain evaluations
    seconds: float | None  # estimated from the cell's own evaluations
    partner: Path | None = None  # another training seed's cell, for cross-play


def missing(
    rows: Sequence[Row], families: Sequence[Family], task: str, episodes: int,
    levels: Sequence[int] | None,
) -> dict[str, tuple[int, ...]]:  # fmt: skip
    """Return the levels that are asked for and have no row of this protocol yet."""
    known = {row.key for row in rows}
    by_name = {}
    for one in families:
        values = one.values(task)
        wanted = [at for at in range(len(values)) if levels is None or at in (0, *levels)]
        lacking = tuple(
            at for at in wanted if (one.name, at, values[at], episodes, one.version) not in known
        )
        if lacking:
            by_name[one.name] = lacking
    return by_name


class StressedCell:
    """A finished cell whose team is played again."""

    def __init__(self, job: Job, device: str = "cpu") -> None:
        """Open the cell; BenchError where it has no usable checkpoint."""
        self.job, self.device = job, device
        policy = checkpointed.load_policy(job.folder, device=device, seed=0)
        self.record: Record = policy.record
        self.algorithm = policy.algorithm
        self.task = checkpointed.task_of(self.record)

    def run(self, report: Report = lambda name, cost: None) -> list[str]:
        """Play what is missing, writing after every perturbation; return notes on it."""
        rows = {row.key: row for row in robustness.read(self.job.folder)}
        notes = []
        if differs_from_record(self):
            notes.append(
                "level 0 differs from the cell's own evaluation in rounding: it was "
                "made with other kernels or on another machine"
            )
        for name, levels in self.job.levels.items():
            one = family(name)
            played = self._family(one, levels)
            stale = {key for key, row in rows.items() if row.name == name and (
                row.version != one.version or row.episodes != self.job.episodes)}  # fmt: skip
            rows = {key: row for key, row in rows.items() if key not in stale}
            rows |= {row.key: row for row in played}
            robustness.write(self.job.folder, sorted(rows.values(), key=_order))
            notes += sorted({f"{name}: {row.note}" for row in played if row.note})
            report(name, one.cost * len(levels))
        return notes

    def _family(self, one: Family, levels: Sequence[int]) -> list[Row]:
        reason = self._left_out(one)
        values = one.values(self.task.id)
        return [self._row(one, level, values[level], reason if level else "") for level in levels]

    def _left_out(self, one: Family) -> str:
        """Say why this team cannot be perturbed so; empty where it can."""
        if one.needs == "partner" and self.job.partner is None:
            return "there is no other training seed of this algorithm to play with"
        if one.needs in ("team", "critic") and self.team.reason:
            return self.team.reason
        if one.needs == "critic" and not self.team.has_critic:
            return "the algorithm trains no critic"
        return ""

    def _row(self, one: Family, level: int, value: float, reason: str) -> Row:
        row = Row(
            one.family, one.variant, level, value, one.unit, self.job.episodes,
            version=one.version, note=reason,
        )  # fmt: skip
        if reason:
            return row
        calm = self.calm
        played = calm if level == 0 else self.play(one, value)
        gap = self._team(played) - self._team(calm)  # (episodes,)
        spread = float(gap.std()) if len(gap) > 1 else 0.0
        return dataclasses.replace(
            row,
            return_mean=played.return_mean,
            return_std=played.return_std,
            score=played.score,
            difference=float(gap.mean()),
            difference_error=spread / len(gap) ** 0.5,
        )

    def _team(self, played: Evaluation) -> torch.Tensor:
        """Return the team's return of every episode."""
        return played.returns[:, list(self.task.scored_agents)].mean(dim=1)

    @cached_property
    def calm(self) -> Evaluation:
        """The undisturbed team: the cell's own evaluation, on so many episodes."""
        return self._evaluated(None)

    def play(self, one: Family, value: float) -> Evaluation:
        """Return the evaluation of the team under a perturbation."""
        return self._evaluated(one.make(value, self.scene))

    def _evaluated(self, perturbation: Any) -> Evaluation:
        recorded, protocol = self.record.protocol, Protocol(perturbation=perturbation)
        if recorded is not None:
            protocol = dataclasses.replace(
                protocol,
                seed=protocol.seed if recorded.seed is None else recorded.seed,
                episodes_at_once=recorded.episodes_at_once or protocol.episodes_at_once,
                horizon=recorded.horizon,
            )
        (played,) = evaluate(self.algorithm, self.task, self.job.episodes, self.device, protocol)
        return played

    @cached_property
    def team(self) -> Differentiable:
        """The team as attacks see it."""
        return Differentiable(self.algorithm)

    @cached_property
    def scene(self) -> Scene:
        """What perturbations may know of this cell."""
        spec = self.algorithm.spec
        return Scene(
            self.task, spec.observation_mean, spec.observation_std, self.team, self._partner
        )

    @cached_property
    def _other(self) -> Any:
        if self.job.partner is None:
            raise BenchError(f"cell {self.job.cell} has no other training seed to play with")
        return checkpointed.load_policy(self.job.partner, device=self.device, seed=0).algorithm

    def _partner(self, seed: int) -> Act:
        """Return how the other training seed's team acts in a batch of episodes."""
        draws = generator(seed, "team-cross-play")
        if self.device != "cpu":
            draws = torch.Generator(self.device).manual_seed(draws.initial_seed())
        return team_act(self._other, [draws])


def _order(row: Row) -> tuple[str, str, int]:
    return row.family, row.variant, row.level


def differs_from_record(stressed: StressedCell) -> bool | None:
    """Tell whether level 0 differs from the recorded evaluation; None where they cannot compare."""
    results = stressed.record.results
    last = results.last if results else None
    if last is None or last.episodes != stressed.job.episodes:
        return None
    rows = store.read_episodes(stressed.job.folder)
    mine = stressed.calm.returns.float().flatten().numpy()
    return not bool((rows["return"].to_numpy() == mine).all())
