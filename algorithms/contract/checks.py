"""The checks of the contract that concern making, training, saving and acting."""

import io

import torch

import algorithms
from algorithms.contract.examples import AGENTS, stacked, team
from algorithms.contract.subject import (
    Broken,
    Check,
    Skip,
    Subject,
    differing,
    generators,
    imitation_losses,
    observations,
    parameters,
    require,
)
from algorithms.device.sync import NoHostSync
from algorithms.errors import AlgorithmError


def the_row_describes_the_algorithm(subject: Subject) -> None:
    row, learner = subject.row, subject.make()
    require(learner.name == subject.name, f"its name is {learner.name!r}")
    require(learner.version == row.version >= 1, "version must be a whole number from 1")
    require(learner.observes in ("own", "joint"), "observes must be 'own' or 'joint'")
    steps = algorithms.sampling_steps(subject.name, learner.settings)
    require(
        learner.sampling_steps == steps >= 1,
        f"sampling_steps is {learner.sampling_steps} in the class and {steps} by its row",
    )
    require(
        all((row.summary, row.source, row.deviations)),
        "the row lacks its summary, source or deviations",
    )
    acting = sum(parameter.numel() for parameter in learner.acting_parameters())
    everything = sum(parameter.numel() for parameter in learner.parameters())
    require(0 < acting <= everything, "acting_parameters are not among the parameters")


def fixed_switches_cannot_be_changed(subject: Subject) -> None:
    if not subject.row.switches:
        raise Skip("no variant")
    config = algorithms.settings_class(subject.name)()
    if all(getattr(config, key) == value for key, value in subject.row.switches.items()):
        raise Skip("its switches are the defaults")
    try:
        algorithms.make(subject.name, team(), config)
    except AlgorithmError:
        return
    raise Broken("it was made with a fixed switch changed")


def actions_have_their_shape_and_bounds(subject: Subject) -> None:
    learner = subject.make()
    for rows in (1, 256):
        action, _ = learner.act(observations(rows, scale=10.0))
        require(action.shape == (3, rows, 2), f"act returned shape {tuple(action.shape)}")
        require(action.dtype == torch.float32, f"act returned {action.dtype}")
        require(action.isfinite().all(), "an action is not finite")
        require(action.abs().max() <= 1.0, "an action lies outside [-1, 1]")
        require(not action.requires_grad, "actions carry a gradient")


def acting_follows_its_generators(subject: Subject) -> None:
    """Equal generators, equal actions; without generators fresh noise at every call."""
    learner, seen = subject.make(), observations(16)
    first, again, other = (learner.act(seen, generators=generators(seed))[0] for seed in (5, 5, 6))
    require(torch.equal(first, again), "equal generators gave different actions")
    fresh = [learner.act(seen)[0] for _ in range(2)]
    if torch.equal(first, other):  # deterministic: a row must not depend on how many there are
        require(torch.equal(*fresh), "it ignores generators, yet repeated calls differ")
        alone = learner.act(seen[:, :1])[0]
        require(torch.allclose(alone, first[:, :1], atol=1e-5), "a row depends on the others")
        return
    require(not torch.equal(*fresh), "two calls used the same noise")


def update_returns_one_detached_number_per_replica(subject: Subject) -> None:
    learner = subject.make(seeds=(0, 1))
    metrics = learner.update(stacked([subject.batch(seed=0), subject.batch(seed=1)]))
    require(metrics, "update returned no metrics")
    for key, value in metrics.items():
        require("/" in key, f"metric {key} has no group: name it actor/... or critic/...")
        require(value.shape == (2,), f"metric {key} has shape {tuple(value.shape)}, not (2,)")
        require(not value.requires_grad, f"metric {key} carries a gradient")
        require(value.isfinite().all(), f"metric {key} is not finite")


def same_seed_gives_the_same_parameters_and_another_seed_others(subject: Subject) -> None:
    first, again, other = subject.make(), subject.make(), subject.make(seeds=(1,))
    for step in range(5):
        batch = subject.batch(seed=step)
        for learner in (first, again, other):
            learner.update(batch)
    names = differing(parameters(first), parameters(again))
    require(not names, f"{names[:1]} differs between two runs of one seed")
    require(differing(parameters(first), parameters(other)), "another seed changed nothing")


def replicas_trained_together_equal_those_trained_alone(subject: Subject) -> None:
    """Bit for bit: on a CPU in eager mode nothing of a replica depends on the others."""
    seeds = (3, 1, 4)
    together = subject.make(seeds=seeds)
    alone = [subject.make(seeds=(seed,)) for seed in seeds]
    for step in range(3):
        batches = [subject.batch(seed=100 * step + seed) for seed in seeds]
        together.update(stacked(batches))
        for learner, batch in zip(alone, batches, strict=True):
            learner.update(batch)
    joint = parameters(together)
    for replica, learner in enumerate(alone):
        own = parameters(learner)
        part = {k: joint[k][replica * len(v) : (replica + 1) * len(v)] for k, v in own.items()}
        names = differing(own, part)
        require(not names, f"{names[:1]} of seed {seeds[replica]} depends on who trains beside it")


def an_agent_learns_from_its_own_data_alone(subject: Subject) -> None:
    """Changing the last agent's data leaves the parameters of the others bit-identical."""
    if subject.row.centralised_training:
        raise Skip("trained centrally by design")
    first, second = subject.make(), subject.make()
    for step in range(2):
        batch = subject.batch(seed=step)
        fields = ("observation", "action", "reward", "next_observation")
        changed = {name: getattr(batch, name).clone() for name in fields}
        for value in changed.values():
            value[-1] += 0.3
        first.update(batch)
        second.update(batch._replace(**changed))
    names = []
    for key, value in parameters(first).items():
        of_others = len(value) // AGENTS * (AGENTS - 1)  # a critic has two heads per agent
        other = parameters(second)[key]
        require(torch.equal(value[:of_others], other[:of_others]), f"{key} mixes agents")
        names += [key] if not torch.equal(value[of_others:], other[of_others:]) else []
    require(names, "the changed agent learnt nothing from its data")


def a_policy_sees_what_it_says(subject: Subject) -> None:
    """observes="own": other agents' observations change nothing; "joint": every agent's count."""
    learner, seen = subject.make(), observations(16)
    if subject.row.observes == "joint":  # what couples agents may have to be learnt
        for step in range(3):
            learner.update(subject.batch(seed=step))
    action, _ = learner.act(seen, generators=generators(5))
    for agent in range(AGENTS):
        disturbed = seen + 5.0
        disturbed[agent] = seen[agent]
        again, _ = learner.act(disturbed, generators=generators(5))
        others = [other for other in range(AGENTS) if other != agent]
        moved = [not torch.equal(action[other], again[other]) for other in others]
        require(all(moved), "an agent ignores its own observation")
        sees = not torch.equal(action[agent], again[agent])
        if subject.row.observes == "own":
            require(
                not sees, "it declares observes='own', but others' observations change an action"
            )
        else:
            require(sees, "it declares observes='joint', but others' observations change nothing")


def saved_and_loaded_learner_continues_bit_equal(subject: Subject) -> None:
    learner = subject.make()
    for step in range(3):
        learner.update(subject.batch(seed=step))
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    restored = subject.make()
    restored.load_state_dict(torch.load(file, weights_only=True))
    for step in range(3, 6):
        metrics = learner.update(subject.batch(seed=step))
        again = restored.update(subject.batch(seed=step))
        require(not differing(metrics, again), f"metrics differ {step - 2} updates after loading")
    names = differing(parameters(learner), parameters(restored))
    require(not names, f"{names[:1]} differs three updates after loading")
    seen = observations(4)
    require(torch.equal(learner.act(seen)[0], restored.act(seen)[0]), "actions differ")


def acting_does_not_change_training(subject: Subject) -> None:
    quiet, acting = subject.make(), subject.make()
    for step in range(3):
        acting.act(observations(8, seed=step))
        quiet.update(subject.batch(seed=step))
        acting.update(subject.batch(seed=step))
    names = differing(parameters(quiet), parameters(acting))
    require(not names, f"{names[:1]} depends on whether the policy acted in between")


def the_loss_falls(subject: Subject) -> None:
    """On data that can be imitated the imitation loss falls; without one, the critic's does.

    A Q term may rightly outweigh imitation, so it is kept small here. Falling by 40 % is enough at
    any time, and by 20 % in the end.
    """
    learner = subject.make(learning_rate=1e-2, q_weight=0.1)
    batches = [subject.batch(rows=32, seed=seed) for seed in range(5)]
    history = []
    for step in range(60):
        metrics = learner.update(batches[step % len(batches)])
        falling = imitation_losses(metrics) or {"critic/loss": metrics["critic/loss"]}
        key, value = next(iter(falling.items()))
        history.append(value)
        if step % 10 == 9:
            first, last = (torch.cat(part).mean() for part in (history[:10], history[-10:]))
            if last < first - 0.4 * first.abs():
                return
    require(last < first - 0.2 * first.abs(), f"{key} went from {first:.3f} to {last:.3f}")


def every_trained_tensor_receives_a_gradient_and_no_other_does(subject: Subject) -> None:
    learner = subject.make()
    before = parameters(learner)
    for step in range(5):
        learner.update(subject.batch(seed=step))
    networks = learner.trained_networks()
    trained = [parameter for network in networks for parameter in network.parameters()]
    gradients = [gradient for network in networks for gradient in network.gradients]
    received = {id(p): g for p, g in zip(trained, gradients, strict=True)}
    for key, parameter in learner.named_parameters():
        if id(parameter) in received:
            require(received[id(parameter)].abs().sum() > 0, f"{key} receives no gradient")
            require(not torch.equal(before[key], parameter), f"{key} does not move")
        else:
            require(not parameter.requires_grad, f"{key} is not trained but requires a gradient")


def ragged_teams_ignore_padding(subject: Subject) -> None:
    """Agents of unequal size: numbers in the padding of actions change nothing that is learnt."""
    spec = team((7, 5, 6), (2, 1, 2))
    first, second = subject.make(spec), subject.make(spec)
    for step in range(3):
        batch = subject.batch(spec, seed=step)
        places = batch.action.shape[-1]
        shape = (-1, *[1] * (batch.action.dim() - 2), places)  # windows have a step more
        padding = 1.0 - batch.action_mask.view(shape)
        noisy = batch._replace(action=batch.action + 0.5 * padding)
        first.update(batch)
        second.update(noisy)
    names = differing(parameters(first), parameters(second))
    require(not names, f"{names[:1]} depends on the padding of actions")
    action, _ = first.act(observations(32))
    require(action.shape == (3, 32, 2), f"act returned shape {tuple(action.shape)}")


def update_never_waits_for_the_device(subject: Subject) -> None:
    """No .item(), bool(tensor), .cpu() or boolean indexing in a step: each would stall a GPU."""
    learner, batch = subject.make(), subject.batch()
    learner.update(batch)
    watch = NoHostSync()
    with watch:
        learner.update(batch)
    require(not watch.seen, f"update waits for the device: {', '.join(sorted(watch.seen))}")


GENERAL: tuple[Check, ...] = (
    the_row_describes_the_algorithm,
    fixed_switches_cannot_be_changed,
    actions_have_their_shape_and_bounds,
    acting_follows_its_generators,
    a_policy_sees_what_it_says,
    update_returns_one_detached_number_per_replica,
    same_seed_gives_the_same_parameters_and_another_seed_others,
    replicas_trained_together_equal_those_trained_alone,
    an_agent_learns_from_its_own_data_alone,
    saved_and_loaded_learner_continues_bit_equal,
    acting_does_not_change_training,
    the_loss_falls,
    every_trained_tensor_receives_a_gradient_and_no_other_does,
    ragged_teams_ignore_padding,
    update_never_waits_for_the_device,
)
