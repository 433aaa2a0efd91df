import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from worker.evaluation.features import ResidentFeatures
from worker.evaluation.retrieval import average_precision, retrieved, shown_queries
from worker.evaluation.split import ProbeSplit

RANKINGS = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        # Few distinct values, so that many are equal.
        st.lists(st.integers(-4, 4), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n).filter(any),
    )
)


@given(RANKINGS)
def test_average_precision_is_sklearn_s_ties_included(case: tuple[list[int], list[bool]]) -> None:
    similarity, relevant = torch.tensor([case[0]], dtype=torch.float32) / 4, torch.tensor([case[1]])
    theirs = average_precision_score(case[1], case[0])
    assert float(average_precision(similarity, relevant)[0]) == pytest.approx(theirs, abs=1e-9)


def test_each_query_has_its_own_ranking() -> None:
    rng = np.random.default_rng(0)
    similarity, relevant = rng.normal(size=(20, 50)), rng.random((20, 50)) < 0.2
    theirs = [average_precision_score(wanted, row) for wanted, row in zip(relevant, similarity, strict=True)]
    np.testing.assert_allclose(average_precision(torch.tensor(similarity), torch.tensor(relevant)), theirs)


def test_nothing_wanted_is_zero() -> None:
    assert average_precision(torch.tensor([[0.3, 0.1]]), torch.tensor([[False, False]])).tolist() == [0]


def split_of(labels: list[int], held_out: list[bool]) -> ProbeSplit:
    return ProbeSplit(np.arange(len(labels)) * 10, np.array(labels), np.array(held_out), [0, 1], {})


def test_queries_find_their_like_among_the_images_that_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.evaluation.retrieval._CELLS", 4)
    angles = np.deg2rad([0, 10, 20, 90, 100, 110, 4, 96])
    features = ResidentFeatures(torch.tensor(np.stack([np.cos(angles), np.sin(angles)], 1), dtype=torch.float32))
    split = split_of([0, 0, 1, 1, 1, 0, 0, 1], [False] * 6 + [True] * 2)
    found = retrieved(features, split, neighbours=2)
    assert found.outcome.right.tolist() == [[1, 1]]
    assert found.nearest[:, :3].tolist() == [[0, 1, 2], [4, 3, 5]]
    # The first finds its like at places 1, 2 and 6, the second at 1, 2 and 4.
    np.testing.assert_allclose(found.precision, [(1 + 1 + 3 / 6) / 3, (1 + 1 + 3 / 4) / 3], rtol=1e-6)


@given(st.integers(1, 12), st.integers(0, 20))
def test_the_picture_shows_each_class_before_any_twice(count: int, seed: int) -> None:
    labels = np.array([0] * 10 + [1] * 3 + [2])
    shown = labels[shown_queries(labels, count, seed)]
    assert len(shown) == min(count, 14)
    assert sorted(shown) == shown.tolist()
    assert len(set(shown)) == min(count, 3)
