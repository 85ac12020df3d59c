"""The comparison before training: what rounding does passes, what a replay forgets does not."""

from typing import Any

import pytest
import torch

from algorithms.contract.subject import Subject
from algorithms.device import graphs_check
from algorithms.device.graphs import GraphedUpdates
from algorithms.diffusion_ql import DiffusionQl
from algorithms.errors import AlgorithmError
from algorithms.parts.optimiser import Adam
from tests.algorithms.recorder import Recorder

pytestmark = pytest.mark.usefixtures("by_torch")
UPDATES = 1000


def checked(subject: Subject, kind: type[GraphedUpdates] = GraphedUpdates, **changes: Any) -> None:
    """Compare replays of two equal learners, which are to run for UPDATES."""
    seeds = iter(range(100))
    changes = {"lr_schedule": "cosine", "total_updates": UPDATES, **changes}
    learner, other = subject.make(**changes), subject.make(**changes)
    graphed = kind(learner, record=Recorder(), before=lambda work: work())
    graphs_check.check(graphed, other, lambda: subject.batch(rows=8, seed=next(seeds)), UPDATES)


@pytest.mark.parametrize("name", ["fql", "diffusion-ql", "madiff-d"])
def test_what_is_right_passes(name: str) -> None:
    checked(Subject(name))


def test_what_the_host_decides_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("bc")
    kind = type(subject.make())
    losses = kind.losses

    def counting(self: Any, batch: Any) -> Any:
        loss, metrics = losses(self, batch)
        return loss * self.updates, metrics | {"scaled": loss * self.updates}

    monkeypatch.setattr(kind, "losses", counting)
    with pytest.raises(AlgorithmError, match=r"bc differs from its eager updates in scaled"):
        checked(subject)


def test_a_stale_rate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first updates of a cosine schedule the stale rate is almost the right one."""
    step = Adam.step
    monkeypatch.setattr(Adam, "step", lambda self, rate, *rest: step(self, float(rate), *rest))
    with pytest.raises(AlgorithmError, match=r"bc differs from its eager updates in "):
        checked(Subject("bc"))


def test_a_fault_of_a_later_phase_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaging begins late in training: without notice of it, replays never average."""
    changes = {"ema_start": UPDATES - 10, "ema_every": 3}
    checked(Subject("diffusion-ql"), **changes)
    after = DiffusionQl.after_update

    def counting(self: Any) -> None:
        after(self)
        if self.updates >= self.settings.ema_start:
            self.average_policy.network.flat.mul_(self.updates / UPDATES)

    monkeypatch.setattr(DiffusionQl, "after_update", counting)
    with pytest.raises(AlgorithmError, match=r"diffusion-ql differs .* in average_policy"):
        checked(Subject("diffusion-ql"), **changes)


def test_every_phase_of_a_run_has_its_place() -> None:
    learner = Subject("diffusion-ql").make(ema_start=50, ema_every=5)
    assert graphs_check.places(learner, 60) == [30, 49]
    assert graphs_check.places(Subject("bc").make(), 60) == [30]
    assert learner.updates == 0


class StaleBatch(GraphedUpdates):
    """Copies the first batch only."""

    def _fill(self, batch: Any) -> None:
        if self._batch is None:
            super()._fill(batch)
        self._rate.fill_(self.algorithm.learning_rate())


def test_a_stale_batch_is_found() -> None:
    with pytest.raises(AlgorithmError, match=r"bc differs from its eager updates in "):
        checked(Subject("bc"), StaleBatch)


@pytest.mark.parametrize("name", ["bc", "om2p", "diffusion-ql", "madiff-d", "cql"])
def test_rounding_passes(name: str) -> None:
    """Another library's products and another last place of the rate; keys have no gradient."""
    subject = Subject(name)
    one, other = subject.make(learning_rate=3e-4), subject.make(learning_rate=3e-4)
    start = {key: p.detach().clone() for key, p in other.named_parameters()}
    differ = False
    for seed in range(8):
        batch = subject.batch(rows=32, seed=seed)
        with torch.backends.mkldnn.flags(enabled=False):
            one.step(batch, torch.tensor(one.learning_rate()) * (1 + 2**-23))
        other.update(batch)
        assert not graphs_check.strayed(one, other, start)
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        differ = differ or any(not torch.equal(mine, theirs) for mine, theirs in pairs)
    assert differ


def test_a_parameter_that_is_not_updated_fails() -> None:
    subject = Subject("om2p")
    one, other = subject.make(), subject.make()
    start = {key: p.detach().clone() for key, p in other.named_parameters()}
    for seed in range(4):
        one.update(subject.batch(seed=seed))
        other.update(subject.batch(seed=seed))
    forgotten = "policy.network.biases.0"
    with torch.no_grad():
        one.get_parameter(forgotten).copy_(start[forgotten])
    assert graphs_check.strayed(one, other, start) == [forgotten]
