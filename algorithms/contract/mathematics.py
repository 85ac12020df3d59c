"""The checks of the contract that concern losses and targets, where an algorithm has them."""

from typing import Any

import torch

from algorithms.base import Algorithm
from algorithms.contract.examples import team
from algorithms.contract.subject import (
    Check,
    Skip,
    Subject,
    differing,
    imitation_losses,
    parameters,
    require,
)
from algorithms.parts.networks import MemberNetwork

TARGET_PREFIXES = ("target_", "average_")


def targets_move_by_their_rate(subject: Subject) -> None:
    """target += rate (online - target), by target_rate or, for averaged policies, by ema_rate.

    An average may stay where it is in the first updates (`ema_start`, `ema_every`); other targets
    always move.
    """
    learner = subject.make()
    learner.update(subject.batch(seed=0))
    before = parameters(learner)
    learner.update(subject.batch(seed=1))
    after = parameters(learner)
    pairs = [(key, _online(key)) for key in after if _online(key) in after and _online(key) != key]
    if not pairs:
        raise Skip("no target networks")
    config = learner.settings
    may_stay = getattr(config, "ema_start", 0) > 0 or getattr(config, "ema_every", 1) > 1
    for target, online in pairs:
        averaged = target.startswith("average_")
        rate = getattr(config, "ema_rate" if averaged else "target_rate")
        rates = [rate, 0.0] if averaged and may_stay else [rate]
        goals = [torch.lerp(before[target], after[online], rate) for rate in rates]
        close = any(torch.allclose(after[target], goal, rtol=1e-6, atol=1e-7) for goal in goals)
        require(close, f"{target} is not {rates} of the way to {online}")
        if rates == [rate] and not torch.equal(before[online], after[online]):
            require(not torch.equal(before[target], after[target]), f"{target} does not move")


def _online(key: str) -> str:
    """Return the name of the network that a target follows, or the name itself."""
    for prefix in TARGET_PREFIXES:
        key = key.removeprefix(prefix)
    return key


def a_terminal_step_is_worth_its_reward(subject: Subject) -> None:
    """With done = 1 the next observation changes nothing that is learnt; without, it does."""
    if not hasattr(subject.make(), "critic"):
        raise Skip("no critic")
    for ended in (1.0, 0.0):
        first, second = subject.make(), subject.make()
        for step in range(2):
            batch = subject.batch(seed=step)
            batch = batch._replace(terminated=torch.full_like(batch.terminated, ended))
            first.update(batch)
            second.update(batch._replace(next_observation=batch.next_observation + 1.0))
        names = differing(parameters(first), parameters(second))
        if ended:
            require(not names, f"{names[:1]} depends on what follows a terminal step")
        else:
            require(names, "what follows a step changes nothing: values do not bootstrap")


def rewards_reach_critics_alone(subject: Subject) -> None:
    """In one update rewards change the gradients of critics and of nothing else.

    Where they do, a TD target carries a graph to the policy or to a value that it bootstraps from.
    """
    learner = subject.make()
    if not hasattr(learner, "critic"):
        raise Skip("no critic")
    batch, other = subject.batch(), subject.make()
    learner.update(batch)
    other.update(batch._replace(reward=5.0 * batch.reward + 1.0))
    first, second = _gradients(learner), _gradients(other)
    for key in first:
        same = torch.equal(first[key], second[key])
        if "critic" in key:
            require(not same, f"rewards do not reach {key}")
        else:
            require(same, f"rewards change the gradient of {key}: the TD target carries a graph")


# What weighs Q in an actor's loss: the first of these that an algorithm has.
ACTOR_WEIGHTS = ("q_weight", "inverse_temperature", "temperature", "action_penalty")


def critics_do_not_learn_from_the_actor(subject: Subject) -> None:
    """Another weight in the actor's loss leaves the critic's gradient as it is, bit for bit."""
    config = subject.settings()
    names = [name for name in ACTOR_WEIGHTS if hasattr(config, name)]
    if not hasattr(subject.make(), "critic") or not names or names[0] in subject.row.switches:
        raise Skip("no critic, or nothing that weighs the actor's loss")
    one, other = (_after_one_update(subject, names[0], weight) for weight in (0.5, 2.0))
    for key in (key for key in one if "critic" in key):
        require(
            torch.equal(one[key], other[key]),
            f"{names[0]} changes the gradient of {key}: the actor's loss reaches the critic",
        )


def _after_one_update(subject: Subject, name: str, weight: float) -> dict[str, torch.Tensor]:
    changes: dict[str, Any] = {name: weight}
    learner = subject.make(**changes)
    learner.update(subject.batch())
    return _gradients(learner)


def a_time_limit_is_not_terminal(subject: Subject) -> None:
    first, second = subject.make(), subject.make()
    if first.trajectory is not None:
        raise Skip("windows of episodes carry no flag of the time limit")
    batch = subject.batch()
    first.update(batch)
    second.update(batch._replace(timeout=torch.ones_like(batch.timeout)))
    names = differing(parameters(first), parameters(second))
    require(not names, f"{names[:1]} depends on the time limit's flag")


def losses_do_not_grow_with_the_action_size(subject: Subject) -> None:
    """Doubling every action dimension keeps a mean over dimensions; a stated sum doubles."""
    single, double = (_losses_of_zero_networks(subject, copies) for copies in (1, 2))
    if not single:
        raise Skip("no imitation loss")
    summed = getattr(subject.settings(), "delta_reduction", "mean") == "sum"
    expected = 2.0 if summed else 1.0
    for key, value in single.items():
        ratio = double[key] / value if abs(value) > 1e-8 else expected
        require(
            abs(ratio - expected) < 0.12,
            f"{key} grows {ratio:.2f}-fold when every action dimension is doubled",
        )


@torch.no_grad()
def _losses_of_zero_networks(subject: Subject, copies: int, batches: int = 8) -> dict[str, float]:
    """Return mean imitation losses where every action dimension is repeated ``copies`` times.

    All parameters are zero, so that the losses depend on data and noise alone.
    """
    spec = team(action_sizes=(2 * copies,) * 3)
    learner = subject.make(spec)
    totals: dict[str, float] = {}
    for seed in range(batches):
        for parameter in learner.parameters():
            parameter.zero_()
        batch = subject.batch(spec, 128, seed)
        action = torch.cat([batch.action[..., :2]] * copies, dim=-1)
        with torch.enable_grad():
            metrics = learner.update(batch._replace(action=action))
        for key, value in imitation_losses(metrics).items():
            totals[key] = totals.get(key, 0.0) + value.item() / batches
    return totals


def a_normalised_q_term_ignores_the_scale_of_q(subject: Subject) -> None:
    """Scaling Q by 100 leaves the policy's gradient as it is, to 1e-3."""
    config = subject.settings()
    weight = getattr(config, "q_weight", 0.0)
    if getattr(config, "q_normalise", "none") != "mean_abs" or weight == 0:
        raise Skip("no normalised Q term")
    gradients = []
    for scale in (1.0, 100.0):
        learner = subject.make()
        critic: Any = learner.get_submodule("critic.network")
        with torch.no_grad():
            critic.weights[-1].mul_(scale)
            critic.biases[-1].mul_(scale)
        learner.update(subject.batch())
        latest = _gradients(learner).items()
        gradients.append({key: value for key, value in latest if "critic" not in key})
    for key, value in gradients[0].items():
        error = (value - gradients[1][key]).norm() / value.norm()
        require(error < 1e-3, f"the gradient of {key} changes by {error.item():.1e}")


def _gradients(learner: Algorithm) -> dict[str, torch.Tensor]:
    """Return the last gradients of all trained networks by name, as one row each."""
    trained = {id(network) for network in learner.trained_networks()}
    return {
        name: torch.cat([gradient.flatten() for gradient in module.gradients])
        for name, module in learner.named_modules()
        if isinstance(module, MemberNetwork) and id(module) in trained
    }


def without_a_q_term_rewards_do_not_matter(subject: Subject) -> None:
    """q_weight = 0 is cloning: rewards change no action."""
    if not hasattr(subject.settings(), "q_weight") or "q_weight" in subject.row.switches:
        raise Skip("no weighted Q term")
    first, second = subject.make(q_weight=0.0), subject.make(q_weight=0.0)
    for step in range(3):
        batch = subject.batch(seed=step)
        first.update(batch)
        second.update(batch._replace(reward=5.0 * batch.reward + 1.0))
    pairs = zip(first.acting_parameters(), second.acting_parameters(), strict=True)
    require(all(torch.equal(a, b) for a, b in pairs), "rewards reach the policy")


MATHEMATICS: tuple[Check, ...] = (
    targets_move_by_their_rate,
    a_terminal_step_is_worth_its_reward,
    rewards_reach_critics_alone,
    critics_do_not_learn_from_the_actor,
    a_time_limit_is_not_terminal,
    losses_do_not_grow_with_the_action_size,
    a_normalised_q_term_ignores_the_scale_of_q,
    without_a_q_term_rewards_do_not_matter,
)
