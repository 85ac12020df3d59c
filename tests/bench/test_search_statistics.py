"""The expected best of k trials and the importance of settings, against brute force and limits."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.results.tuning import search_statistics as search

SCORES = st.lists(st.integers(-50, 150).map(float), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(SCORES, st.integers(1, 4))
def test_the_expected_best_is_the_mean_over_all_draws(values: list[float], trials: int) -> None:
    bests = sorted(max(draw) for draw in itertools.product(values, repeat=trials))
    estimate = search.expected_best(values, trials)
    assert estimate.value == pytest.approx(np.mean(bests))
    low, high = np.quantile(bests, [0.025, 0.975], method="inverted_cdf")
    assert (estimate.low, estimate.high) == (low, high)
    assert estimate.n == len(values)


def test_one_trial_is_the_mean_and_many_are_the_maximum() -> None:
    values = [3.0, 1.0, 2.0, 10.0]
    assert search.expected_best(values, 1).value == pytest.approx(4.0)
    assert search.expected_best(values, 1000).value == pytest.approx(10.0)
    bests = [search.expected_best(values, k).value for k in range(1, 20)]
    assert all(a <= b for a, b in itertools.pairwise(bests))  # type: ignore[operator]
    assert search.expected_best([], 3).value is None


def test_the_numbers_of_trials_that_are_shown_end_with_all() -> None:
    assert search.counts_shown(16) == [1, 2, 4, 8, 16]
    assert search.counts_shown(6) == [1, 2, 4, 6]
    assert search.counts_shown(1) == [1]
    assert search.counts_shown(0) == []


@given(st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12))
def test_ranks_are_shared_by_equal_values(values: list[float]) -> None:
    assert list(search.ranks(values)) == list(stats.rankdata(values))


PLACES = [0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def test_a_setting_that_decides_alone_explains_everything() -> None:
    monotone = [place**3 for place in PLACES]
    assert search.importance_of_range(PLACES, monotone) == pytest.approx(1.0)
    assert search.direction(PLACES, monotone) == pytest.approx(1.0)
    assert search.direction(PLACES, [-one for one in monotone]) == pytest.approx(-1.0)
    assert search.importance_of_choice("aabbaabb", [1, 1, 2, 2, 1, 1, 2, 2]) == pytest.approx(1.0)


def test_a_setting_that_is_best_in_its_middle_counts_although_it_has_no_direction() -> None:
    hump = [-abs(at - 3.5) for at in range(8)]
    share = search.importance_of_range(PLACES, hump)
    assert share is not None
    assert share > 0.9
    assert search.direction(PLACES, hump) == pytest.approx(0.0, abs=1e-9)


def test_the_share_is_the_adjusted_one_of_an_analysis_of_variance() -> None:
    chosen, scores = "abcabcab", [3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0]
    ranks = stats.rankdata(scores)
    groups = [[r for r, c in zip(ranks, chosen, strict=True) if c == kind] for kind in "abc"]
    within = sum(sum((r - np.mean(group)) ** 2 for r in group) for group in groups)
    total = sum((ranks - ranks.mean()) ** 2)
    expected = max(0.0, 1 - within / total * 7 / 5)
    assert search.importance_of_choice(chosen, scores) == pytest.approx(expected)


def test_chance_alone_explains_about_nothing() -> None:
    generator = np.random.default_rng(0)
    shares = [
        search.importance_of_range(list(generator.random(16)), list(generator.random(16)))
        for _ in range(400)
    ]
    assert np.mean([share for share in shares if share is not None]) < 0.07  # never below 0


@pytest.mark.parametrize(
    ("places", "scores"),
    [([1.0] * 8, list(range(8))), (PLACES, [1.0] * 8), (PLACES[:4], [1.0, 2.0, 3.0, 4.0])],
)
def test_nothing_is_said_where_nothing_varies_or_too_little_was_tried(
    places: list[float], scores: list[Any]
) -> None:
    assert search.importance_of_range(places, scores) is None


def test_a_choice_that_was_never_varied_explains_nothing() -> None:
    assert search.importance_of_choice("aaaaaa", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) is None
