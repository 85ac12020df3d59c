"""The efficiency track: medians, exponents, tables and figures."""

from pathlib import Path

import pytest

from bench.cli import measure
from bench.errors import BenchError
from bench.tracks.efficiency import medians, reference_counts, tables
from tests.bench.efficiency_examples import made_up, request, sample


def test_exponents_of_exact_power_laws_are_found() -> None:
    sizes_ = [3.0, 8.0, 32.0]
    for power in (-1.0, 0.0, 0.5, 2.0):
        result = medians.fit([(x, 7.0 * x**power) for x in sizes_])
        assert result is not None
        assert result.slope == pytest.approx(power, abs=1e-12)
        assert result.count == 3
    noisy = medians.fit([(3, 10.0), (8, 27.0), (32, 105.0), (16, 53.0)])
    assert noisy is not None
    assert 0.97 < noisy.slope < 1.02
    assert medians.fit([(3.0, 1.0)]) is None
    assert medians.fit([(3.0, 1.0), (3.0, 2.0)]) is None


def test_percentiles_are_those_of_numpy() -> None:
    import numpy as np

    values = np.random.default_rng(0).lognormal(size=37)
    for percent in (0, 25, 50, 95, 99, 100):
        result = medians.percentile(list(values), percent)
        assert result == pytest.approx(np.percentile(values, percent))


def test_summaries_are_medians_and_quartiles_over_rounds() -> None:
    cloning, om2p = medians.summarise(made_up())
    assert om2p.time == medians.Spread(0.002, 0.0015, 0.0025, 3)
    assert om2p.other_time == medians.Spread(0.004, 0.003, 0.005, 3)
    assert om2p.latency == pytest.approx({50: 1e-4, 95: 1e-4, 99: 2.03e-4})
    assert om2p.per_second == pytest.approx(1000 / 0.02)
    flops = reference_counts.update_flops("om2p", made_up()["entries"][1]["settings"], 3, 18, 2, 32)
    assert flops is not None
    assert om2p.overhead is not None
    assert om2p.overhead.median == pytest.approx(0.002 * 1e9 / flops)
    assert cloning.time is not None
    assert cloning.time.median == 0.001
    cloning.rounds[2] = 0.5  # of om2p's 2 ms: 250 times; round 9 has no partner
    cloning.rounds[9] = 0.1
    assert medians.ratio(cloning, om2p) == medians.Spread(0.5, 0.5, 125.25, 3)
    assert medians.base_of([cloning, om2p]) == "om2p"
    assert medians.base_of([cloning]) == "bc"


def test_variants_are_compared_per_seed_within_each_round() -> None:
    """Five seeds together in 2 ms are 0.4 ms each: two and a half times as fast as one in 1 ms."""
    made = made_up()
    key = made["entries"][0]["key"]
    for row, seconds in zip(made["rounds"][key], (1e-3, 2e-3, 4e-3), strict=True):
        row["variants"] = [
            {
                "kernels": kernels, "replicas": seeds, "update": {"cpu": [share * seconds]},
                "computed": {"name": kernels, "reason": "here"},
            }
            for kernels, seeds, share in (("torch", 1, 1.0), ("torch", 5, 2.0), ("c", 1, 0.5))
        ]  # fmt: skip
    first, _ = medians.summarise(made)
    assert [one.label for one in first.variants] == ["torch, 1 seed", "torch, 5 seeds", "c, 1 seed"]
    assert [one.gain.median for one in first.variants] == pytest.approx([1.0, 2.5, 2.0])
    assert [one.time.median for one in first.variants] == pytest.approx([2e-3, 8e-4, 1e-3])
    text = tables.markdown(made)
    assert "| torch, 1 seed, CPU (ms) | torch, 5 seeds: times faster | c, 1 seed: times" in text
    assert "| 2.00 [1.50, 3.00] | 2.50 [2.50, 2.50] | 2.00 [2.00, 2.00] | 1.00 |" in text
    assert "Networks computed by: torch (here); c (here)." in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"kernels": "torch,mkl"}, "--kernels 'mkl' is not one of auto, torch, c"),
        ({"replicas": "5"}, "--replicas '5' does not begin with 1"),
        ({"replicas": "1,x"}, "is not a list of whole numbers"),
    ],
)
def test_wrong_variants_are_refused(flags: dict[str, str], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        request(**flags)


def test_on_a_gpu_the_wall_clock_counts_and_throttling_is_reported() -> None:
    made = made_up()
    made["configuration"]["device"] = "cuda"
    for row in made["entries"]:
        memory = made["costs"][row["key"]]["memory"]
        memory |= {
            "torch_peak_allocated_bytes": 2**20, "torch_peak_reserved_bytes": 2**21,
            "nvml_bytes": None, "nvml_attribution": None,
        }  # fmt: skip
        made["rounds"][row["key"]][0]["throttling"] = ["power cap"]
    om2p = medians.summarise(made)[1]
    assert om2p.time == medians.Spread(0.004, 0.003, 0.005, 3)
    text = tables.markdown(made)
    assert "| update, wall (ms) | x om2p | CPU (ms) |" in text
    assert "om2p: torch 1.0 MiB allocated, 2.0 reserved; NVML -- MiB" in text
    assert "The GPU was throttled during some rounds." in text


def test_widths_are_fitted_at_the_bases_depth_and_two_sizes_are_marked() -> None:
    text = tables.markdown(made_up("8x2,32x2"))
    assert "| hidden | om2p | 1.00 (2) | 2.00 (2) | 2.00 (2) |" in text
    text = tables.markdown(made_up("8x2,32x2,16x2,64x4"))
    assert "| hidden | om2p | 1.00 | 2.00 | 2.00 |" in text
    assert "| hidden |" not in tables.markdown(made_up("8x2,64x4"))


def test_the_table_shows_ratios_to_om2p_and_how_it_was_measured() -> None:
    made = made_up()
    made["entries"][0] |= {"steps": 4, "changed_chains": {"flow_steps": [4, 10]}}
    made["failures"]["om2p, elsewhere"] = "it broke"
    text = tables.markdown(made)
    assert "| bc | 1.00 [0.75, 1.25] | 0.50 [0.50, 0.50] | 2.00 |" in text
    assert "| om2p | 2.00 [1.50, 2.50] | 1.00 [1.00, 1.00] | 4.00 |" in text
    assert "| bc | 4* | 2 | 100 | 100 | 203 | 1.00 | 50,000 |" in text
    assert "Medians over 3 rounds" in text
    assert "Fewer than 7 rounds" in text
    assert "bc (flow_steps 4 instead of 10)." in text
    assert "Failed: om2p, elsewhere: it broke." in text


def test_the_headline_answers_the_papers_claim() -> None:
    made = made_up()
    assert tables.headline(made) == []  # nothing of several steps, no Jacobian
    made["entries"][0] |= {"algorithm": "dom2", "settings": {"solver_steps": 5}}
    lines = tables.headline(made)
    assert lines[0] == (
        "dom2 (5 steps) takes 0.50 times the time and 0.50 times the peak tensor memory of om2p."
    )
    assert lines[1].startswith("The largest ratios are 0.50 times the time (dom2) and")


def test_the_jacobian_is_compared_with_the_difference_and_with_forward_mode() -> None:
    made = made_up()
    made["entries"][0] |= {"algorithm": "om2p-batch-jacobian", "settings": {}}
    (line,) = tables.headline(made)
    assert "whole-batch Jacobian takes 0.50 times the time" in line
    forward = {**made["entries"][0], "algorithm": "om2p-jvp", "key": "forward"}
    made["entries"].append(forward)
    made["rounds"]["forward"] = [sample(at, 0.25e-3 * at) for at in (1, 2, 3)]
    made["costs"]["forward"] = {"peak_tensor_bytes": 2**20}
    lines = tables.headline(made)
    assert lines[1].startswith("The same derivative in forward mode takes 0.25 times the time")
    assert lines[2].startswith("The Jacobian takes 2.00 times the time")


def test_the_headline_names_the_largest_ratios_of_all_sizes() -> None:
    made = made_up("8x2,32x2")
    for row in made["entries"]:
        if row["algorithm"] == "bc":
            row |= {"algorithm": "dom2", "settings": {"solver_steps": 5}}
    wide = next(
        e["key"] for e in made["entries"] if e["algorithm"] == "dom2" and "32x2" in e["key"]
    )
    for done in made["rounds"][wide]:
        done["update"]["cpu"] = [3 * seconds for seconds in done["update"]["cpu"]]
    lines = tables.headline(made)
    assert lines[0].startswith("dom2 (5 steps) takes 0.50 times the time")
    assert lines[0].endswith("of om2p at 3 agents, batch 32, hidden 8x2.")
    assert (
        "The largest ratios are 1.50 times the time (dom2 at 3 agents, batch 32, hidden 32x2)"
        in lines[1]
    )


@pytest.mark.parametrize("name", ["m.png", "m.pdf"])
def test_equal_measurements_give_equal_figures(tmp_path: Path, name: str) -> None:
    made = made_up()
    made["rounds"].pop(made["entries"][0]["key"])  # one row without times
    pictures = [tmp_path / f"{at}-{name}" for at in range(2)]
    for picture in pictures:
        measure.draw(made, picture)
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    with pytest.raises(BenchError, match="cannot be written"):
        measure.draw(made, tmp_path / "missing" / name)


def test_what_was_not_measured_shows_dashes() -> None:
    made = made_up()
    made["rounds"].clear()
    assert "| om2p | -- | -- | -- | -- | 64.00 | 1.00 |" in tables.markdown(made)
