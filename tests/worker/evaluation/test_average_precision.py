"""Average precision against a slow reading of its definition, and against scikit-learn."""

from fractions import Fraction
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import Tensor

from worker.evaluation.average_precision import ApRule, average_precision, weighted_average_precision

RULES: tuple[ApRule, ...] = ("voc07", "all-point")
rules = st.sampled_from(RULES)
# Few different scores, so that ties are common.
rows = st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25)
Rows = list[tuple[int, bool, bool, int]]


def tensors(drawn: Rows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, truths, ignored, whole weights."""
    scores, truths, ignored, weights = zip(*drawn, strict=True)
    return torch.tensor(scores) / 8, torch.tensor(truths), torch.tensor(ignored), torch.tensor(weights)


def slow(scores: list[float], truths: list[bool], rule: ApRule) -> Fraction:
    """By the definition, in exact fractions: every threshold, then the best precision at each recall or beyond."""
    positives = sum(truths)
    points = []
    for threshold in sorted(set(scores)):
        shown = [truth for score, truth in zip(scores, truths, strict=True) if score >= threshold]
        points.append((Fraction(sum(shown), positives), Fraction(sum(shown), len(shown))))

    def best(recall: Fraction) -> Fraction:
        return max((precision for reached, precision in points if reached >= recall), default=Fraction(0))

    if rule == "voc07":
        return sum((best(Fraction(tenth, 10)) for tenth in range(11)), Fraction(0)) / 11
    recalls = sorted({Fraction(0), *(recall for recall, _ in points)})
    return sum(((high - low) * best(high) for low, high in pairwise(recalls)), Fraction(0))


@given(rows, rules)
def test_is_what_the_definition_says(drawn: Rows, rule: ApRule) -> None:
    scores, truths, _, _ = tensors(drawn)
    found = average_precision(scores, truths, rule)
    if truths.any():
        assert found == pytest.approx(float(slow(scores.tolist(), truths.tolist(), rule)), abs=1e-12)
    else:
        assert np.isnan(found)


@given(rows, rules)
def test_what_is_ignored_is_as_if_it_were_not_there(drawn: Rows, rule: ApRule) -> None:
    scores, truths, ignored, _ = tensors(drawn)
    without = average_precision(scores[~ignored], truths[~ignored], rule)
    assert average_precision(scores, truths, rule, ignored) == pytest.approx(without, nan_ok=True)


@given(rows, rules, st.randoms())
def test_the_order_of_the_rows_means_nothing_even_where_scores_are_equal(
    drawn: Rows, rule: ApRule, chance: Random
) -> None:
    scores, truths, ignored, _ = tensors(drawn)
    shuffled = chance.sample(range(len(drawn)), len(drawn))
    other = average_precision(scores[shuffled], truths[shuffled], rule, ignored[shuffled])
    assert average_precision(scores, truths, rule, ignored) == pytest.approx(other, nan_ok=True)


@given(rows, rules)
def test_whole_weights_repeat_rows(drawn: Rows, rule: ApRule) -> None:
    scores, truths, ignored, weights = tensors(drawn)
    repeated = [part.repeat_interleave(weights) for part in (scores, truths, ignored)]
    expected = average_precision(repeated[0], repeated[1], rule, repeated[2])
    found = weighted_average_precision(scores, truths, weights[None], rule, ignored)
    assert float(found) == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.booleans(), min_size=1, max_size=30), rules)
def test_a_perfect_ranking_scores_one(truths: list[bool], rule: ApRule) -> None:
    found = average_precision(torch.tensor(truths) + torch.rand(len(truths)) * 0.9, torch.tensor(truths), rule)
    assert found == 1 if any(truths) else np.isnan(found)


@settings(deadline=None)
@given(rows)
def test_all_point_is_scikit_learn_s_with_interpolated_precision(drawn: Rows) -> None:
    scores, truths, _, _ = tensors(drawn)
    if not truths.any():
        return
    precision, recall, _ = precision_recall_curve(truths.numpy(), scores.numpy())
    interpolated = np.maximum.accumulate(precision[:-1])  # from the lowest threshold, the highest recall, upwards
    ours = average_precision(scores, truths, "all-point")
    assert ours == pytest.approx(float(-np.sum(np.diff(recall) * interpolated)))
    assert ours >= average_precision_score(truths.numpy(), scores.numpy()) - 1e-12


def test_all_point_equals_scikit_learn_s_where_precision_only_falls() -> None:
    scores, truths = torch.arange(12, 0, -1), torch.tensor([1] * 5 + [0] * 7).bool()
    truths[8] = True
    precision = truths.cumsum(0) / torch.arange(1, 13)
    assert (precision[truths].diff() <= 0).all()
    expected = average_precision_score(truths.numpy(), scores.numpy())
    assert average_precision(scores, truths, "all-point") == pytest.approx(expected)


def test_scikit_learn_s_is_lower_where_precision_rises_again() -> None:
    scores, truths = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([False, True, True])
    assert average_precision(scores, truths, "all-point") == pytest.approx(2 / 3)
    assert average_precision(scores, truths, "voc07") == pytest.approx(2 / 3)
    assert average_precision_score(truths.numpy(), scores.numpy()) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_recall_of_three_of_ten_reaches_the_point_at_three_tenths() -> None:
    scores = torch.arange(20, 0, -1)
    truths = torch.zeros(20, dtype=torch.bool)
    truths[[0, 1, 2, *range(13, 20)]] = True
    # The first three are right; from the fourth on the best precision is 10 of 20.
    assert average_precision(scores, truths, "voc07") == pytest.approx((4 * 1 + 7 * 0.5) / 11)


@pytest.mark.parametrize("rule", RULES)
def test_things_without_a_score_are_missed(rule: ApRule) -> None:
    scores, truths = torch.tensor([0.9, 0.5]), torch.tensor([True, True])
    expected = {"voc07": 6 / 11, "all-point": 0.5}
    assert average_precision(scores, truths, rule, positives=4) == pytest.approx(expected[rule])
    assert average_precision(torch.empty(0), torch.empty(0, dtype=torch.bool), rule, positives=4) == 0


@pytest.mark.parametrize("rule", RULES)
def test_nothing_to_find_is_no_number(rule: ApRule) -> None:
    nothing = torch.zeros(3, dtype=torch.bool)
    assert np.isnan(average_precision(torch.rand(3), nothing, rule))
    ignored = torch.tensor([True, False, False])
    assert np.isnan(average_precision(torch.rand(3), ignored, rule, ignored))
