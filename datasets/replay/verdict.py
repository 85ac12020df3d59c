"""The verdict on a recording: which share of its rows obeys, what is likely wrong, what is unknown.

Each check compares recorded numbers with what the rules make of the rows before. Where too few
rows obey, the usual mistakes are undone one at a time, and the one that makes the rows obey is
named.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from datasets.replay.joints import CLOSE, MOST, Joints
from datasets.replay.particles import Particles, agree
from datasets.replay.sample import Sample
from datasets.tasks import PLUGIN, Task

ENOUGH = 0.9  # of the rows; genuine recordings have 0.99 and more, the usual mistakes below 0.3
FOLLOWS = 0.5  # of the movement of joint positions; genuine 0.75 and more, standardised below 0.3
STANDARD = 0.2  # of a standardised dimension's mean and of its deviation's distance from 1
FAR = 0.35  # median error of steps under wrong actions; 0 under this version of MuJoCo
SCALE = 1.5  # gains of genuine recordings lie within this factor of random movement's
TRIED = 150  # rows that a possible cause is judged by where each has to be stepped
OTHER_PHYSICS = "the physics of another version of MuJoCo, in which steps differ a little"
MOST_PERMUTED = 4  # agents, all of whose orders are tried


@dataclass(frozen=True)
class Check:
    """One comparison: the share of rows (or, for joints, of the movement) that obeys."""

    name: str
    share: float
    enough: float
    what: str  # what was compared, for people
    binding: bool = True  # whether a share that is too small refuses the recording

    @property
    def good(self) -> bool:
        """Tell whether enough rows obey."""
        return self.share >= self.enough


@dataclass
class Verdict:
    """What a sample of a recording says about where it comes from."""

    rows: int
    checks: list[Check] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)  # likely ones, most telling first
    unchecked: list[str] = field(default_factory=list)  # what the data cannot show

    @property
    def good(self) -> bool:
        """Tell whether every binding check has enough rows that obey."""
        return all(check.good for check in self.checks if check.binding)

    @property
    def share(self) -> float | None:
        """Return the smallest share of a binding check; None where nothing could be checked."""
        return min((check.share for check in self.checks if check.binding), default=None)

    def as_card(self) -> dict[str, Any]:
        """Return plain values for a dataset's card."""
        return {
            "rows": self.rows,
            "share": self.share,
            "checks": {check.name: check.share for check in self.checks},
            "causes": self.causes,
            "unchecked": self.unchecked,
        }

    def reason(self) -> str:
        """Return in a clause why the recording is not good: the likely cause and the shares."""
        bad = [check for check in self.checks if check.binding and not check.good]
        shares = ", ".join(f"{100 * check.share:.1f} % {check.what}" for check in bad)
        cause = "; ".join(self.causes) or "no usual mistake explains them (another task or prey?)"
        return f"{cause}; in a sample of {self.rows:,} rows, {shares}"

    def lines(self) -> list[str]:
        """Return the verdict as lines for a terminal."""
        made = [
            f"{check.name}: {100 * check.share:.1f} % {check.what}"
            + ("" if check.good else f" (genuine: {100 * check.enough:.0f} % and more)")
            for check in self.checks
        ]
        made += [f"likely cause: {cause}" for cause in self.causes]
        return made + [f"not checked: {what}" for what in self.unchecked]


def judge(sample: Sample, task: Task) -> Verdict | None:
    """Return the verdict on a sample under a task's rules; None where they are not ours."""
    if task.rules.startswith(PLUGIN):
        return None
    family, _, name = task.id.partition("/")
    verdict = _particles(sample, task) if family == "mpe" else _joints(sample, name)
    if not task.ends:
        _judge_ends(verdict, sample, task)
    return verdict


def _judge_ends(verdict: Verdict, sample: Sample, task: Task) -> None:
    """Check that no episode ends for good in a task whose episodes never do."""
    last = sample.left == 0
    ended = sample.terminated[last]
    share = 1.0 - float(ended.mean())
    verdict.checks.append(
        Check("ends", share, ENOUGH, "of episodes end as this task's do, by the time limit alone")
    )
    if share >= ENOUGH:
        return
    lengths = np.unique(sample.step[last][ended] + 1)
    if len(lengths) > 1:
        verdict.causes.append(
            f"episodes end for good after {lengths[0]} to {lengths[-1]} steps, which {task.id} "
            "never does: another environment, or flags that mean something else"
        )
        return
    habit = (
        " (D4RL's tools leave out the last step, whose next observation they lack)"
        if lengths[0] == task.horizon - 1
        else ""
    )
    verdict.causes.append(
        f"episodes end after {lengths[0]} of {task.horizon} steps{habit}, by a flag that counts as "
        f"terminal, and {task.id} never ends early: --episode-steps {lengths[0]} reads such ends "
        "as time limits"
    )


# --- particles -----------------------------------------------------------------------------------


def _particles(sample: Sample, task: Task) -> Verdict:
    """Check views, motion, rewards and starts of a particle task."""
    world = Particles(task.id, task.rules, task.agents, task.prey_size is not None)
    verdict = Verdict(len(sample))
    views = float(world.same_places(sample).mean())
    moves = float(world.moves(sample, sample.action).mean())
    rewards = float(agree(sample.reward, world.rewards(sample.next_observation)).mean())
    starts = float(world.starts(sample).mean())
    verdict.checks = [
        Check("observations", views, ENOUGH, "of rows have all agents see one set of landmarks"),
        Check("motion", moves, ENOUGH, "of rows move as the rules and the recorded actions say"),
        Check("rewards", rewards, ENOUGH, "of rows have the rewards that follow from the state"),
        Check("starts", starts, ENOUGH, "of episodes start at rest inside the start regions"),
    ]
    if not verdict.checks[0].good or not verdict.checks[1].good:
        verdict.causes += (
            _standardised(sample.observation)
            or _motion_causes(sample, task, world)
            or _order_causes(sample, world)
        )
    if verdict.checks[0].good and not verdict.checks[2].good:
        expected = world.rewards(sample.next_observation)
        earlier = world.rewards(sample.observation)
        verdict.causes += _reward_causes(sample.reward, expected, earlier)
    if not verdict.checks[3].good and verdict.checks[0].good:
        verdict.causes.append(
            "first rows of episodes are in the middle of movement: the episodes were cut at the "
            "wrong places, or they are longer than this task's"
        )
    if world.prey:
        verdict.unchecked.append("which prey these data were recorded against")
    return verdict


def _order_causes(sample: Sample, world: Particles) -> list[str]:
    """Return which order of the agents in the observations makes the rows obey."""
    for order in _orders(world.agents):
        seen, following = sample.observation[:, order], sample.next_observation[:, order]
        moved = replace(sample, observation=seen, next_observation=following)
        if world.moves(moved, moved.action).mean() >= ENOUGH:
            return [f"the observations belong to the agents in the order {_listed(order)}"]
    return []


def _standardised(observation: np.ndarray) -> list[str]:
    """Say so where most dimensions of observations (K, N, O) have mean 0 and deviation 1."""
    mean, deviation = observation.mean(axis=0), observation.std(axis=0)
    varying = deviation > 1e-6
    standard = (np.abs(mean) < STANDARD) & (np.abs(deviation - 1.0) < STANDARD)
    if varying.any() and standard[varying].mean() > 0.9:
        return ["the observations were standardised (mean 0, deviation 1) before they were saved"]
    return []


def _motion_causes(sample: Sample, task: Task, world: Particles) -> list[str]:
    """Return which change of the actions, or which other rules, makes the rows obey."""
    for cause, changed, rows in _changed_actions(sample):
        part = sample.rows(rows)
        if len(part) and world.moves(part, changed[rows]).mean() >= ENOUGH:
            return [cause]
    for rules in ("omar", "mpe2"):
        other = Particles(task.id, rules, task.agents, task.prey_size is not None)
        fits = rules != task.rules and other.fits(sample)
        if fits and other.moves(sample, sample.action).mean() >= ENOUGH:
            return [f"the data were recorded under {rules}'s rules: import with --rules {rules}"]
    return []


def _changed_actions(sample: Sample) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield usual mistakes: what it is, the actions with it undone, and the rows to judge by."""
    action, every = sample.action, np.ones(len(sample), dtype=bool)
    yield "the actions lie in [0, 1]: 2 a - 1 makes them this task's", 2.0 * action - 1.0, every
    yield (
        "the actions are one step late: a row holds the action of the row before",
        np.roll(action, -1, axis=0), sample.left > 0,
    )  # fmt: skip
    yield (
        "the actions are one step early: a row holds the action of the row after",
        np.roll(action, 1, axis=0), sample.step > 0,
    )  # fmt: skip
    for order in _orders(action.shape[1]):
        cause = f"the actions belong to the agents in the order {_listed(order)}"
        yield cause, action[:, order], every
    yield "the actions have the opposite sign", -action, every
    yield "the numbers of an action are in the opposite order", action[..., ::-1].copy(), every


def _orders(agents: int) -> Iterator[list[int]]:
    """Yield every order of a small team but the usual one; of a large one, what shifts it."""
    usual = list(range(agents))
    if agents <= MOST_PERMUTED:
        yield from (list(order) for order in list(itertools.permutations(usual))[1:])
    else:
        yield usual[::-1]
        yield from (usual[first:] + usual[:first] for first in range(1, agents))


def _listed(order: list[int]) -> str:
    return ", ".join(map(str, order))


def _reward_causes(
    recorded: np.ndarray, expected: np.ndarray, earlier: np.ndarray | None = None
) -> list[str]:
    """Return which change of the rewards (K, N) makes them those of the rules."""
    agents = recorded.shape[1]
    total = expected.sum(axis=1, keepdims=True).repeat(agents, axis=1)
    causes = {
        "the rewards are the team's sum": total,
        "the rewards are the team's mean": total / agents,
    }
    if earlier is not None:
        causes["the rewards are those of the state before the step, not after it"] = earlier
    for cause, other in causes.items():
        if agree(recorded, other).mean() >= ENOUGH:
            return [cause]
    offset = float(np.median(recorded - expected))
    if agree(recorded - offset, expected).mean() >= ENOUGH:
        return [f"{offset:.4g} was added to the rewards"]
    for name, other in (("", expected), (" summed over the team", total)):
        used = np.abs(other) > 1e-3
        factor = float(np.median(recorded[used] / other[used])) if used.any() else 1.0
        if factor == 0.0 or agree(recorded / factor, other).mean() < ENOUGH:
            continue
        if np.isclose(factor, -1.0):
            return [f"the rewards{name} have the opposite sign"]
        return [f"the rewards{name} are scaled by {factor:.4g}"]
    return []


# --- multi-agent MuJoCo --------------------------------------------------------------------------


def _joints(sample: Sample, name: str) -> Verdict:
    """Check the joints of a robot, and its steps where the observations determine its state."""
    robot = Joints(name)
    verdict = Verdict(len(sample))
    same = float(robot.same_state(sample).mean())
    verdict.checks = [
        Check("observations", same, ENOUGH, "of rows have agents agree on what several observe"),
        Check(
            "joints", float(np.median(robot.follows(sample))), FOLLOWS,
            "of the movement of joints follows from their velocities",
        ),
    ]  # fmt: skip
    if not all(check.good for check in verdict.checks):
        verdict.causes += _standardised(sample.observation)
    if not robot.whole:
        _judge_gains(verdict, sample, robot)
        verdict.unchecked += [
            "rewards: the agents do not observe how fast this robot moves forward",
            "the physics: which version of MuJoCo recorded these data",
        ]
        return verdict
    chosen = np.unique(np.linspace(0, len(sample) - 1, min(MOST, len(sample))).astype(int))
    part = sample.rows(chosen)
    error, reward = robot.step(part, part.action)
    known = ~np.isnan(error)
    steps = float((error[known] <= CLOSE).mean()) if known.any() else 0.0
    causes = [] if steps >= ENOUGH else _step_causes(sample, chosen, robot)
    # Another version of MuJoCo moves a robot a little differently; wrong actions move it otherwise.
    foreign = bool(causes) or not known.any() or float(np.median(error[known])) > FAR
    verdict.checks.append(
        Check("steps", steps, ENOUGH, "of rows move as the robot does under these actions", foreign)
    )
    if steps < ENOUGH:
        verdict.causes += causes or ([] if foreign else [OTHER_PHYSICS])
        return verdict
    expected = reward[known, None].repeat(part.reward.shape[1], axis=1)
    right = float(agree(part.reward[known], expected).mean())
    verdict.checks.append(
        Check("rewards", right, ENOUGH, "of rows have the reward of that movement")
    )
    if right < ENOUGH:
        verdict.causes += _reward_causes(part.reward[known], expected)
    return verdict


def _judge_gains(verdict: Verdict, sample: Sample, robot: Joints) -> None:
    """Check that actuators move their own joints, and as much as random actions do."""
    usual = robot.own_gains()
    share = _driven(robot.gains(sample, sample.action), usual)
    verdict.checks.append(
        Check("actuators", share, ENOUGH, "of actuators move their own joint most, and as usual")
    )
    if share >= ENOUGH:
        return
    for cause, changed, rows in _changed_actions(sample):
        if _driven(robot.gains(sample.rows(rows), changed[rows]), usual) >= ENOUGH:
            verdict.causes.append(cause)
            return


def _driven(gains: np.ndarray, usual: np.ndarray) -> float:
    """Return the share of actuators whose own joint they move most, about as much as usual."""
    own = np.diag(gains)
    most = gains.argmax(axis=0) == np.arange(len(own))
    # The gains of all actuators together tell the scale; those of one vary with the pose.
    factor = float(np.median(own / usual))
    return float(most.mean()) if 1 / SCALE < factor < SCALE else 0.0


def _step_causes(sample: Sample, chosen: np.ndarray, robot: Joints) -> list[str]:
    """Return which change of the actions makes the robot move as recorded."""
    for cause, changed, usable in _changed_actions(sample):
        rows = chosen[usable[chosen]][:TRIED]
        error, _ = robot.step(sample.rows(rows), changed[rows])
        error = error[~np.isnan(error)]
        if len(error) and (error <= CLOSE).mean() >= ENOUGH:
            return [cause]
    return []
