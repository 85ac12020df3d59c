"""What every algorithm in the table must do. New algorithms are picked up by being listed."""

import io
from typing import Any

import pytest
import torch

import algorithms
from algorithms.base import TeamSpec
from algorithms.errors import AlgorithmError
from tests.algorithms.conftest import batch_for, stacked, team, windows_for
from tests.algorithms.narrow import generators, make, parameters, small

NAMES = algorithms.names()


def batch_of(name: str, spec: TeamSpec | None = None, rows: int = 32, seed: int = 0) -> Any:
    """A batch of the kind that the algorithm learns from: transitions, or windows of episodes."""
    spec = spec or team()
    windows = make(name, spec).trajectory
    if windows is None:
        return batch_for(spec, rows, seed)
    return windows_for(spec, windows.history + windows.horizon, rows, seed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [1, 50])
def test_actions_have_their_shape_and_bounds(name: str, rows: int) -> None:
    learner = make(name)
    action, _ = learner.act(10 * torch.randn(3, rows, 7))
    assert action.shape == (3, rows, 2)
    assert action.dtype == torch.float32
    assert torch.isfinite(action).all()
    assert action.abs().max() <= 1.0
    assert not action.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_update_returns_one_detached_number_per_replica(name: str) -> None:
    learner = make(name, seeds=(0, 1))
    metrics = learner.update(
        stacked([batch_of(name, team(), seed=0), batch_of(name, team(), seed=1)])
    )
    assert metrics
    for key, value in metrics.items():
        assert "/" in key
        assert value.shape == (2,)
        assert not value.requires_grad
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_the_same_parameters_and_another_seed_others(name: str) -> None:
    first, again, other = make(name), make(name), make(name, seeds=(1,))
    for step in range(5):
        batch = batch_of(name, team(), seed=step)
        for learner in (first, again, other):
            learner.update(batch)
    for key, value in parameters(first).items():
        assert torch.equal(value, parameters(again)[key]), key
    assert any(
        not torch.equal(value, parameters(other)[key]) for key, value in parameters(first).items()
    )


@pytest.mark.parametrize("name", NAMES)
def test_replicas_trained_together_equal_those_trained_alone(name: str) -> None:
    """Bit for bit: on a CPU in eager mode nothing of a replica depends on the others."""
    seeds = (3, 1, 4)
    together = make(name, seeds=seeds)
    alone = [make(name, seeds=(seed,)) for seed in seeds]
    for step in range(3):
        batches = [batch_of(name, team(), seed=100 * step + seed) for seed in seeds]
        together.update(stacked(batches))
        for learner, batch in zip(alone, batches, strict=True):
            learner.update(batch)
    joint = parameters(together)
    for replica, learner in enumerate(alone):
        for key, value in parameters(learner).items():
            rows = value.shape[0]
            assert torch.equal(joint[key][replica * rows : (replica + 1) * rows], value), key


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_learns_from_its_own_data_alone(name: str) -> None:
    """Changing agent 2's data leaves the parameters of agents 0 and 1 bit-identical."""
    if algorithms.row(name).centralised_training:
        pytest.skip("trained centrally by design")
    first, second = make(name), make(name)
    batch = batch_of(name)
    changed = [field.clone() for field in batch[:-1]]
    for index in range(4):
        changed[index][2] += 0.3
    first.update(batch)
    second.update(type(batch)(*changed))
    for key, value in parameters(first).items():
        heads = value.shape[0] // 3
        other = parameters(second)[key]
        assert torch.equal(value[: 2 * heads], other[: 2 * heads]), key
    assert any(
        not torch.equal(value[2:], parameters(second)[key][2:])
        for key, value in parameters(first).items()
    )


@pytest.mark.parametrize("name", [n for n in NAMES if algorithms.row(n).observes == "own"])
def test_a_decentralised_policy_cannot_see_the_others(name: str) -> None:
    learner = make(name)
    observation = torch.randn(3, 16, 7)
    disturbed = observation.clone()
    disturbed[1:] += 5.0
    action, _ = learner.act(observation, generators=generators(5))
    again, _ = learner.act(disturbed, generators=generators(5))
    assert torch.equal(action[0], again[0])
    assert not torch.equal(action[1], again[1])


@pytest.mark.parametrize("name", [n for n in NAMES if algorithms.row(n).observes == "joint"])
def test_a_centralised_policy_sees_the_others(name: str) -> None:
    learner = make(name)
    observation = torch.randn(3, 16, 7)
    disturbed = observation.clone()
    disturbed[1:] += 5.0
    action, _ = learner.act(observation, generators=generators(5))
    again, _ = learner.act(disturbed, generators=generators(5))
    assert not torch.equal(action[0], again[0])


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_learner_continues_bit_equal(name: str) -> None:
    learner = make(name)
    for step in range(3):
        learner.update(batch_of(name, team(), seed=step))
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    restored = make(name, seeds=(0,))
    restored.load_state_dict(torch.load(file, weights_only=True))
    for step in range(3, 6):
        metrics = learner.update(batch_of(name, team(), seed=step))
        for key, value in restored.update(batch_of(name, team(), seed=step)).items():
            assert torch.equal(metrics[key], value)
    for key, value in parameters(learner).items():
        assert torch.equal(value, parameters(restored)[key]), key
    observation = torch.randn(3, 4, 7)
    assert torch.equal(learner.act(observation)[0], restored.act(observation)[0])


@pytest.mark.parametrize("name", NAMES)
def test_acting_does_not_change_training(name: str) -> None:
    quiet, acting = make(name), make(name)
    for step in range(3):
        acting.act(torch.randn(3, 8, 7))
        quiet.update(batch_of(name, team(), seed=step))
        acting.update(batch_of(name, team(), seed=step))
    for key, value in parameters(quiet).items():
        assert torch.equal(value, parameters(acting)[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_the_imitation_loss_falls(name: str) -> None:
    """On data whose action is a function of the observation, over 60 updates."""
    learner = algorithms.make(name, team(), small(name, learning_rate=1e-2))
    batches = [batch_of(name, team(), seed=seed) for seed in range(5)]
    updates = 60
    history = []
    for step in range(updates):
        metrics = learner.update(batches[step % len(batches)])
        history.append(next(v for k, v in metrics.items() if k.startswith("actor/")).item())
    assert sum(history[-10:]) < 0.8 * sum(history[:10])


@pytest.mark.parametrize("name", NAMES)
def test_every_trained_tensor_receives_a_gradient_and_no_other_does(name: str) -> None:
    learner = make(name)
    before = parameters(learner)
    for step in range(5):
        learner.update(batch_of(name, team(), seed=step))
    networks = learner.trained_networks()
    trained = [p for network in networks for p in network.parameters()]
    gradients = [g for network in networks for g in network.gradients]
    received = {id(p): g for p, g in zip(trained, gradients, strict=True)}
    for key, parameter in learner.named_parameters():
        if id(parameter) in received:
            assert received[id(parameter)].abs().sum() > 0, key
            assert not torch.equal(before[key], parameter), key
        else:
            assert not parameter.requires_grad, key


@pytest.mark.parametrize("name", NAMES)
def test_ragged_teams_ignore_padding(name: str) -> None:
    """Agents of unequal size: numbers in the padding of actions change nothing that is learnt."""
    spec = team((7, 5, 6), (2, 1, 2))
    first, second = make(name, spec), make(name, spec)
    batch = batch_of(name, spec)
    padding = 1.0 - batch.action_mask.view(-1, *[1] * (batch.action.dim() - 2), 2)
    noisy = batch._replace(action=batch.action + 0.5 * padding)
    metrics, again = first.update(batch), second.update(noisy)
    key = next(iter(metrics))
    torch.testing.assert_close(metrics[key], again[key])
    action, _ = first.act(torch.randn(3, 32, 7))
    assert action.shape == (3, 32, 2)


@pytest.mark.parametrize("name", NAMES)
def test_fixed_switches_cannot_be_changed(name: str) -> None:
    row = algorithms.row(name)
    config = algorithms.settings_class(name)()
    for key, value in row.switches.items():
        if getattr(config, key) == value:
            continue
        with pytest.raises(AlgorithmError, match=f"{name} fixes"):
            algorithms.make(name, team(), config)
        break


@pytest.mark.parametrize("name", NAMES)
def test_the_row_describes_the_algorithm(name: str) -> None:
    row, learner = algorithms.row(name), make(name)
    assert learner.name == name
    assert learner.version == row.version >= 1
    assert learner.observes == row.observes
    assert learner.sampling_steps >= 1
    assert all((row.summary, row.source, row.deviations))
    assert learner.__class__.act.__doc__
    acting = sum(parameter.numel() for parameter in learner.acting_parameters())
    assert 0 < acting <= sum(parameter.numel() for parameter in learner.parameters())


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(AlgorithmError, match="did you mean om2p"):
        algorithms.row("om2pp")


@pytest.mark.parametrize("name", NAMES)
def test_update_never_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No .item(), .tolist(), bool(tensor) or .cpu() in a step: each would stall a GPU."""
    learner = make(name)
    batch = batch_of(name)
    learner.update(batch)

    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("host synchronisation in update")

    for method in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, method, forbidden)
    learner.update(batch)
