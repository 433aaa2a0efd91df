import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import top_k_accuracy_score

from worker.evaluation.score import Outcome, findings, mean_cell, outcome, seeds_cell, share_cell

RIGHT = np.array([[1, 1, 0, 0, 1], [1, 0, 0, 0, 1.0]])


def test_top_1_and_top_5_are_sklearn_s() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.normal(size=(2, 60, 9)), np.arange(60) % 9
    found = outcome(torch.tensor(scores), torch.tensor(truth), dim=3)
    assert found.top5 is not None
    for seed in range(2):
        assert found.right[seed].mean() == pytest.approx(top_k_accuracy_score(truth, scores[seed], k=1))
        assert found.top5[seed].mean() == pytest.approx(top_k_accuracy_score(truth, scores[seed], k=5))
    assert found.facts == {"dim": 3}


def test_top_5_of_five_classes_says_nothing() -> None:
    assert outcome(torch.zeros(1, 4, 5), torch.zeros(4, dtype=torch.int64)).top5 is None


def test_a_cell_is_the_mean_over_seeds_with_wilson_s_interval_over_images() -> None:
    cell = share_cell(RIGHT, (3, 7), 0.95)
    assert cell.value == pytest.approx(0.5)
    assert cell.per_seed == {"3": pytest.approx(0.6), "7": pytest.approx(0.4)}
    assert cell.n == 5
    expected = stats.binomtest(k=50, n=100).proportion_ci(method="wilson")
    hundred = share_cell(np.tile(RIGHT, 20), (3, 7), 0.95)
    assert (hundred.low, hundred.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_what_no_seed_changes_names_no_seeds() -> None:
    assert share_cell(RIGHT[:1], (0, 1, 2), 0.95).per_seed == {}


def test_the_interval_over_seeds_is_student_s() -> None:
    values = np.array([0.5, 0.53, 0.56])
    cell = seeds_cell(values, 100, (0, 1, 2), 0.9)
    low, high = stats.t.interval(0.9, 2, values.mean(), stats.sem(values))
    assert (cell.low, cell.high) == (pytest.approx(low), pytest.approx(high))


def test_the_interval_of_a_mean_is_normal_and_stays_a_share() -> None:
    values = np.random.default_rng(0).random(500)
    cell = mean_cell(values, 0.95)
    assert cell.high - cell.value == pytest.approx(1.959964 * values.std() / 500**0.5)
    assert mean_cell(np.array([1, 1, 1, 0.9]), 0.95).high == 1


def test_findings_gather_columns() -> None:
    found = findings({"conv1": Outcome(RIGHT, trunk_unchanged=True), "conv2": Outcome(1 - RIGHT)}, (0, 1), 0.95)
    assert list(found.cells) == ["conv1", "conv2"]
    assert found.metric == "top1"
    assert found.trunk_unchanged is True
    assert set(found.further) == {"top1 over seeds"}
    np.testing.assert_allclose(found.right["conv1"], [1, 0.5, 0, 0, 1])


@pytest.mark.parametrize(("told", "expected"), [((None, None), None), ((True, None), True), ((True, False), False)])
def test_the_trunk_is_unchanged_where_every_column_says_so(
    told: tuple[bool | None, ...], expected: bool | None
) -> None:
    outcomes = {str(number): Outcome(RIGHT, trunk_unchanged=one) for number, one in enumerate(told)}
    assert findings(outcomes, (0, 1), 0.95).trunk_unchanged is expected
