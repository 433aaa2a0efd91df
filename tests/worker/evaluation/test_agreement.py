import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from worker.evaluation.agreement import Agreement

GROUPINGS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 6), min_size=n, max_size=n), st.lists(st.integers(0, 4), min_size=n, max_size=n)
    )
)


@given(GROUPINGS)
def test_mutual_information_and_rand_index_are_sklearn_s(groupings: tuple[list[int], list[int]]) -> None:
    first, second = map(np.array, groupings)
    found = Agreement.of(first, second)
    theirs = metrics.normalized_mutual_info_score(second, first)
    assert found.normalised_mutual_information() == pytest.approx(theirs, abs=1e-9)
    assert found.adjusted_rand() == pytest.approx(metrics.adjusted_rand_score(second, first), abs=1e-9)


@given(GROUPINGS)
def test_purity_counts_the_largest_class_of_each_cluster(groupings: tuple[list[int], list[int]]) -> None:
    first, second = map(np.array, groupings)
    table = metrics.cluster.contingency_matrix(second, first)
    assert Agreement.of(first, second).purity() == pytest.approx(table.max(axis=0).sum() / len(first))


def test_sizes_count_empty_groups_too() -> None:
    first, second = Agreement.of(np.array([3, 3, 0]), np.array([1, 1, 1])).sizes
    assert first.tolist() == [1, 0, 0, 2]
    assert second.tolist() == [0, 3]


def test_redrawn_images_keep_their_number_and_come_from_the_table() -> None:
    found = Agreement.of(np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1]))
    drawn = [found.resampled(np.random.default_rng(seed)) for seed in range(300)]
    assert {int(each.counts.sum()) for each in drawn} == {5}
    np.testing.assert_allclose(np.mean([each.counts for each in drawn], axis=0), found.counts, atol=0.25)
