"""The efficiency track: reference counts, sizes and wrong requests."""

from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from bench.tracks.efficiency import reference_counts, sizes
from bench.tracks.efficiency.request import settings_of
from bench.tracks.efficiency.sizes import Size
from tests.bench.efficiency_examples import ACTION, BATCH, HIDDEN, OBSERVATION, request, subject
from tests.perf.plain import PlainOm2p


def test_the_reference_of_om2p_is_what_a_plain_implementation_computes() -> None:
    plain, one = PlainOm2p(3, OBSERVATION, ACTION, HIDDEN), subject("om2p")
    with FlopCounterMode(display=False) as counter:
        plain.update(one.batch)
    settings = {
        "hidden": HIDDEN, "critic_hidden": HIDDEN, "q_weight": 0.1,
        "derivative": "finite_difference",
    }  # fmt: skip
    result = reference_counts.update_flops("om2p", settings, 3, OBSERVATION, ACTION, BATCH)
    assert result == counter.get_total_flops()


@pytest.mark.parametrize(("width", "flops"), [(256, 2_154_823_680), (64, 161_218_560)])
def test_the_reference_of_om2p_does_not_change(width: int, flops: int) -> None:
    """As numbers and by arithmetic: a reference that follows the code measures nothing."""
    settings = {
        "hidden": (width,) * 2, "critic_hidden": (width,) * 2, "q_weight": 1.0,
        "derivative": "finite_difference",
    }  # fmt: skip
    rows = 2 * 3 * 256  # two operations per multiply-add, three agents, batch 256
    inner, policy_in, critic_in = width * width, 22 * width, 20 * width
    policy, critics = rows * (policy_in + inner + 2 * width), 2 * rows * (critic_in + inner + width)
    passes = 4 * policy + 3 * critics  # forward
    passes += 2 * (2 * policy - rows * policy_in)  # inputs need no gradient
    passes += critics + (2 * critics - 2 * rows * critic_in)  # Q term: inputs only; critic's own
    assert (
        reference_counts.update_flops("om2p", settings, 3, OBSERVATION, ACTION, 256)
        == flops
        == passes
    )


@pytest.mark.parametrize("name", reference_counts.FORMULAS)
def test_no_algorithm_computes_much_more_than_its_reference(name: str) -> None:
    """Less is fine; forward mode in torch takes a twentieth more than necessary."""
    one = subject(name)
    with FlopCounterMode(display=False) as counter:
        one.algorithm.update(one.batch)
    settings = one.job["settings"]
    result = reference_counts.update_flops(name, settings, 3, OBSERVATION, ACTION, BATCH)
    assert result is not None
    assert (
        0.5 * result < counter.get_total_flops() <= (1.06 if name == "om2p-jvp" else 1.0) * result
    )


def test_the_reference_stays_the_same_for_variants_that_do_less_or_other_work() -> None:
    settings = settings_of(request("om2p"), "om2p", Size(3, 32, (8, 8)))
    assert reference_counts.update_flops("om2p", settings, 3, 18, 2, 32)
    other = settings | {"derivative": "zero"}
    assert reference_counts.update_flops("om2p", other, 3, 18, 2, 32) is None
    assert reference_counts.update_flops("madiff-c", settings, 3, 18, 2, 32) is None


def test_sizes_vary_one_at_a_time_around_the_first_of_each() -> None:
    result = sizes.around((3, 8), (256, 1024), ((64, 64), (256, 256)))
    assert [size.label for size in result] == [
        "3 agents, batch 256, hidden 64x2",
        "8 agents, batch 256, hidden 64x2",
        "3 agents, batch 1024, hidden 64x2",
        "3 agents, batch 256, hidden 256x2",
    ]
    assert sizes.around((3,), (16,), ()) == [Size(3, 16, None)]
    assert all(sizes.from_dict(size.as_dict()) == size for size in result)


def test_settings_follow_the_size_and_windows_the_batch() -> None:
    asked = request("madiff-c,dom2", set_=["dom2.solver_steps=3"])
    result = settings_of(asked, "dom2", Size(3, 32, (8, 8)))
    assert result["hidden"] == result["critic_hidden"] == (8, 8)
    assert result["solver_steps"] == 3
    whole = settings_of(asked, "madiff-c", Size(3, 32, None))["windows"]
    assert settings_of(asked, "madiff-c", Size(3, 8, None))["windows"] == whole / 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algos": "om2q"}, "unknown algorithm 'om2q'; did you mean om2p"),
        ({"algos": ","}, "--algos names nothing"),
        ({"agents": "3,x"}, "--agents '3,x' is not a list of whole numbers"),
        ({"agents": "2"}, "mpe/spread can have 3 to 32 agents, not 2"),
        ({"batch": "0"}, "--batch '0' has a number outside"),
        ({"hidden": "256"}, "--hidden '256' is not WIDTHxDEPTH"),
        ({"hidden": ","}, "--hidden names no layers"),
        ({"set_": ["om2p.hidden=64x2"]}, "--hidden and --set om2p.hidden both give widths"),
        ({"set_": ["run.batch_size=3"]}, "--set run.batch_size has no effect"),
        ({"set_": ["om2p.q_wieght=3"]}, "unknown setting om2p.q_wieght"),
        ({"preset": "quik"}, "unknown preset 'quik'"),
        ({"device": "tpu"}, "unknown --device 'tpu': known are auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=r"\S") as caught:
        request(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
