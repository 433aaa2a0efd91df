import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from worker.evaluation.interval import paired_difference, quantile, student_quantile, wilson


def test_95_percent_lie_within_1_96_deviations() -> None:
    assert quantile(0.95) == pytest.approx(1.959964, abs=1e-6)


@given(st.floats(0.5, 0.999), st.integers(1, 300))
def test_student_s_quantiles_are_scipy_s(confidence: float, degrees: int) -> None:
    expected = stats.t.ppf((1 + confidence) / 2, degrees)
    assert student_quantile(confidence, degrees) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_s_interval_is_the_published_one(right: int, n: int, low: float, high: float) -> None:
    found = wilson(right / n, n, 0.95)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_s_ends_solve_the_score_equation(case: tuple[int, int]) -> None:
    share, n = case[0] / case[1], case[1]
    found = wilson(share, n, 0.95)
    assert 0 <= found.low <= share + 1e-12
    assert share - 1e-12 <= found.high <= 1
    for end in (found.low, found.high):
        assert (share - end) ** 2 == pytest.approx(quantile(0.95) ** 2 * end * (1 - end) / n, abs=1e-9)


def test_a_paired_difference_is_bonett_and_price_s() -> None:
    # 20 images only the first tells, 8 only the second, 72 both or neither.
    first = np.array([1.0] * 20 + [0] * 8 + [1] * 72)
    second = np.array([0.0] * 20 + [1] * 8 + [1] * 72)
    found = paired_difference(first, second, 0.95)
    gained, lost = 21 / 102, 9 / 102
    half = 1.959964 * math.sqrt((gained + lost - (gained - lost) ** 2) / 102)
    assert found.difference == pytest.approx(0.12)
    assert (found.low, found.high) == (pytest.approx(gained - lost - half), pytest.approx(gained - lost + half))
    assert found.beyond


def test_equal_networks_differ_within_the_interval() -> None:
    same = np.random.default_rng(0).integers(0, 2, 50).astype(float)
    found = paired_difference(same, same, 0.95)
    assert found.difference == 0
    assert found.low < 0 < found.high
    assert not found.beyond


def test_few_images_never_look_like_certainty() -> None:
    assert not paired_difference(np.ones(3), np.zeros(3), 0.95).beyond
    assert paired_difference(np.ones(30), np.zeros(30), 0.95).beyond


def test_equal_accuracies_of_unlike_networks_have_a_wider_interval_than_of_like_ones() -> None:
    alike = paired_difference(np.array([1.0, 0] * 50), np.array([1.0, 0] * 50), 0.95)
    unlike = paired_difference(np.array([1.0, 0] * 50), np.array([0.0, 1] * 50), 0.95)
    assert unlike.high - unlike.low > 5 * (alike.high - alike.low)


def test_about_95_of_100_intervals_hold_the_true_difference() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        both = rng.random(200)
        found = paired_difference((both < 0.7).astype(float), (rng.random(200) < 0.6).astype(float), 0.95)
        held += found.low <= 0.1 <= found.high
    assert 0.92 <= held / 400 <= 0.98
