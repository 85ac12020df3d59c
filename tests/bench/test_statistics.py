"""Statistics: closed forms, simulated coverage, agreement with scipy, and honesty about gaps."""

import inspect
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench.results import statistics

NAN = float("nan")
SCORES = st.lists(
    st.floats(-200, 300, allow_nan=False, allow_infinity=False), min_size=2, max_size=8
)
TABLES = st.integers(2, 5).flatmap(
    lambda runs: st.dictionaries(
        st.sampled_from(["spread", "tag", "world", "ant"]),
        st.lists(st.floats(-50, 150, allow_nan=False), min_size=runs, max_size=runs),
        min_size=1,
    )
)


def table(rng: np.random.Generator, runs: int = 5, tasks: int = 12) -> dict[str, list[float]]:
    return {f"task-{index}": rng.normal(60, 10, runs).tolist() for index in range(tasks)}


# ------------------------------------------------------------ one cell


@pytest.mark.parametrize(
    ("degrees", "printed"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (19, 2.093)]
)
def test_t_quantiles_are_the_printed_table(degrees, printed):
    assert statistics.t_quantile(degrees) == pytest.approx(printed, abs=5e-4)


def test_the_interval_of_one_to_five_is_the_textbook_one():
    estimate = statistics.summarise([1, 2, 3, 4, 5])
    assert estimate.value == 3
    assert estimate.half_width == pytest.approx(2.7764451 * math.sqrt(2.5) / math.sqrt(5))
    assert (estimate.n, estimate.missing, estimate.note) == (5, 0, "")


def test_std_and_sem_are_what_they_say():
    assert statistics.summarise([1, 2, 3, 4, 5], "std").half_width == pytest.approx(math.sqrt(2.5))
    assert statistics.summarise([1, 2, 3, 4, 5], "sem").half_width == pytest.approx(math.sqrt(0.5))
    with pytest.raises(statistics.StatisticsError, match="use one of ci95, std, sem"):
        statistics.summarise([1, 2], "sigma")


def test_one_seed_has_a_value_and_no_interval():
    estimate = statistics.summarise([7.0])
    assert (estimate.value, estimate.low, estimate.high, estimate.half_width) == (
        7.0,
        None,
        None,
        None,
    )
    assert estimate.note == "one seed: no interval"


@pytest.mark.parametrize("gap", [NAN, None, math.inf])
def test_a_missing_run_is_counted_and_named(gap):
    estimate = statistics.summarise([1.0, gap, 3.0])
    assert (estimate.value, estimate.n, estimate.missing, estimate.complete) == (2.0, 2, 1, False)
    assert estimate.note == "1 of 3 runs gave no number"


def test_nothing_but_gaps_has_no_value():
    assert statistics.summarise([NAN, None]).value is None
    assert statistics.summarise([]).note == "no runs"


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_t_intervals_cover_at_the_stated_level(runs):
    trials, rng = 4_000, np.random.default_rng(runs)
    hits = 0
    for sample in rng.normal(3.0, 2.0, (trials, runs)):
        estimate = statistics.summarise(sample.tolist())
        hits += estimate.low <= 3.0 <= estimate.high
    assert abs(hits / trials - 0.95) < 4 * math.sqrt(0.95 * 0.05 / trials)


# ------------------------------------------------------------ differences


def test_welch_agrees_with_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 1, 5), rng.normal(4, 3, 8)
    expected = scipy.stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    estimate = statistics.difference(x.tolist(), y.tolist())
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


def test_pairing_on_common_starts_removes_their_spread():
    starts = np.random.default_rng(0).normal(0, 100, 50)
    noise = np.random.default_rng(1).normal(1, 0.1, 50)
    paired = statistics.paired_difference((starts + noise).tolist(), starts.tolist())
    assert paired.low > 0.9
    assert paired.high < 1.1
    assert statistics.difference((starts + noise).tolist(), starts.tolist()).half_width > 10


def test_pairs_must_match():
    with pytest.raises(statistics.StatisticsError, match="got 3 and 2"):
        statistics.paired_difference([1, 2, 3], [1, 2])


def test_differences_refuse_gaps_and_single_seeds():
    with pytest.raises(statistics.StatisticsError, match="1 of 2 runs of the first sample"):
        statistics.difference([1, NAN], [1, 2])
    with pytest.raises(statistics.StatisticsError, match="has 1 run"):
        statistics.difference([1, 2], [1])


def test_bold_is_the_best_and_what_cannot_be_told_from_it():
    samples = {"a": [90, 91, 92], "b": [89, 91, 93], "c": [50, 51, 52]}
    assert statistics.not_distinguishable_from_best(samples) == ({"a", "b"}, "")
    assert statistics.not_distinguishable_from_best(samples, higher_is_better=False)[0] == {"c"}


def test_incomplete_samples_are_never_bold():
    samples = {"a": [90, 91, 92], "lucky": [99, NAN, 99], "once": [100]}
    assert statistics.not_distinguishable_from_best(samples)[0] == {"a"}
    chosen, why = statistics.not_distinguishable_from_best({"once": [100]})
    assert not chosen
    assert "fewer than two complete seeds" in why


def test_holm_is_the_textbook_example():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


def test_mann_whitney_over_a_table_is_corrected_and_says_what_it_cannot_test():
    pairs = {
        "apart": ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]),
        "mixed": ([1, 3, 5, 7, 9], [2, 4, 6, 8, 10]),
        "gap": ([1, 2, NAN], [1, 2, 3]),
    }
    tested = statistics.mann_whitney_table(pairs)
    assert list(tested) == list(pairs)
    assert tested["apart"].p == pytest.approx(2 / math.comb(10, 5))
    assert tested["apart"].p_corrected == pytest.approx(statistics.smallest_p(5, 5, 2))
    assert tested["gap"].p is None
    assert "1 of 3 runs" in tested["gap"].note


@pytest.mark.parametrize("digits", [15, 0])  # without ties and with many
def test_mann_whitney_is_scipys(digits):
    generator = np.random.default_rng(3)
    pairs = {
        (n, m): tuple(
            generator.normal(shift, size=k).round(digits) for shift, k in ((0, n), (1, m))
        )
        for n in (2, 3, 5, 8, 9, 20)
        for m in (2, 5, 8, 9, 30)
    }
    pairs["equal"] = (np.ones(4), np.ones(4))
    for key, one in statistics.mann_whitney_table(pairs).items():
        expected = float(scipy.stats.mannwhitneyu(*pairs[key], method="auto").pvalue)
        assert one.p == pytest.approx(expected, rel=1e-13, nan_ok=True), key


# ------------------------------------------------------------ over tasks


def test_closed_forms_of_the_aggregates():
    scores = np.arange(1.0, 13.0).reshape(3, 4)
    assert statistics.iqm(scores) == 6.5
    assert statistics.mean(scores) == 6.5
    assert statistics.median(scores) == 6.5
    assert statistics.optimality_gap(scores) == 93.5
    assert statistics.optimality_gap(np.full((2, 2), 130.0)) == 0.0


def test_the_iqm_is_scipys_trimmed_mean():
    scores = np.random.default_rng(0).normal(size=(5, 7))
    assert statistics.iqm(scores) == pytest.approx(scipy.stats.trim_mean(scores, 0.25, axis=None))


def test_on_one_task_the_bootstrap_is_scipys():
    scores = np.random.default_rng(3).normal(60, 10, (12, 1))
    ours = statistics.bootstrap(scores, statistics.mean)
    known = inspect.signature(scipy.stats.bootstrap).parameters
    seed = {"rng" if "rng" in known else "random_state": 1}  # its name before SciPy 1.15
    theirs = scipy.stats.bootstrap(
        (scores[:, 0],), np.mean, method="percentile", n_resamples=50_000, **seed
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.3)


def test_the_bootstrap_resamples_within_tasks():
    constant = np.tile([0.0, 50.0, 100.0], (5, 1))
    estimate = statistics.bootstrap(constant, statistics.mean)
    assert (estimate.low, estimate.value, estimate.high) == (50.0, 50.0, 50.0)


def test_stratified_coverage_at_five_seeds_is_what_the_caption_admits():
    rng, hits, trials = np.random.default_rng(0), 0, 600
    for _ in range(trials):
        estimate = statistics.bootstrap(rng.normal(60, 10, (5, 12)), statistics.mean, resamples=500)
        hits += estimate.low <= 60 <= estimate.high
    assert 0.87 < hits / trials < 0.95


@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_matter(runs, random):
    shuffled = {task: random.sample(values, len(values)) for task, values in runs.items()}
    first = statistics.aggregate(runs, resamples=50)
    second = statistics.aggregate(shuffled, resamples=50)
    for name, estimate in first.items():
        assert second[name].value == pytest.approx(estimate.value, abs=1e-9)
        assert second[name].low == pytest.approx(estimate.low, abs=1e-9)


@given(TABLES, TABLES)
def test_another_algorithm_changes_nobodys_score(ours, other):
    def leaderboard(rows):
        return {name: statistics.aggregate(runs, resamples=20) for name, runs in rows.items()}

    assert leaderboard({"ours": ours})["ours"] == leaderboard({"b": other, "ours": ours})["ours"]


@given(SCORES, SCORES)
def test_probability_of_improvement_is_antisymmetric(x, y):
    there = statistics.probability_of_improvement({"t": x}, {"t": y}, resamples=50)
    back = statistics.probability_of_improvement({"t": y}, {"t": x}, resamples=50)
    assert there.value + back.value == pytest.approx(1.0)
    assert 0.0 <= there.low <= there.high <= 1.0


def test_probability_of_improvement_at_its_ends():
    low, high = {"t": [1.0, 2.0]}, {"t": [3.0, 4.0, 5.0]}
    assert statistics.probability_of_improvement(high, low).value == 1.0
    assert statistics.probability_of_improvement(low, low).value == 0.5
    with pytest.raises(statistics.StatisticsError, match="share no task"):
        statistics.probability_of_improvement(low, {"u": [1.0]})


def test_intervals_shrink_with_seeds_and_repeat():
    few = statistics.aggregate(table(np.random.default_rng(0), runs=4), resamples=500)["iqm"]
    many = statistics.aggregate(table(np.random.default_rng(0), runs=40), resamples=500)["iqm"]
    assert many.half_width < few.half_width
    again = statistics.aggregate(table(np.random.default_rng(0), runs=4), resamples=500)["iqm"]
    assert few == again


def test_aggregates_refuse_gaps_and_unequal_seeds_in_words():
    with pytest.raises(statistics.StatisticsError, match="missing or failed runs on tag"):
        statistics.aggregate({"spread": [1, 2], "tag": [1, NAN]})
    with pytest.raises(statistics.StatisticsError, match=r"unequal .*\(spread 2, tag 3\)"):
        statistics.aggregate({"spread": [1, 2], "tag": [1, 2, 3]})
    with pytest.raises(statistics.StatisticsError, match="no task"):
        statistics.aggregate({})
    assert statistics.aggregate({"spread": [1.0]})["iqm"].note == "one seed: no interval"


def test_the_performance_profile_falls_from_one_to_zero_inside_its_band():
    scores = np.random.default_rng(0).uniform(0, 100, (5, 6))
    share, low, high = statistics.performance_profile(scores, np.linspace(-1, 101, 50))
    assert share[0] == 1.0
    assert share[-1] == 0.0
    assert (np.diff(share) <= 0).all()
    assert ((low <= share) & (share <= high)).all()
    assert statistics.performance_profile(scores[:1], np.array([50.0]))[1:] == (None, None)


# ------------------------------------------------------------ learning speed


def test_scores_at_fractions_never_look_ahead():
    scores = statistics.score_at_fractions([20, 50, 100], [1.0, 2.0, 4.0], 100, (0.1, 0.25, 0.5, 1))
    assert scores == [None, 1.0, 2.0, 4.0]


def test_time_to_score_is_the_first_arrival():
    assert statistics.time_to_score([1, 2, 3, 4], [10, 60, 40, 80], 50) == 2.0
    assert statistics.time_to_score([1, 2], [10, NAN], 50) is None


def test_seeds_that_never_arrive_push_the_median_out():
    some = statistics.summarise_times([10.0, 30.0, None])
    assert (some.value, some.n, some.note) == (30.0, 2, "2 of 3 seeds reached it")
    assert statistics.summarise_times([10.0, None, None]).value is None
