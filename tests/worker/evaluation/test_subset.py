import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.evaluation.split import ProbeSplit
from worker.evaluation.subset import teaching_subset

LABELS = np.array([0] * 100 + [1] * 40 + [2] * 5)
HELD_OUT = np.arange(145) % 5 == 0
SPLIT = ProbeSplit(np.arange(145), LABELS, HELD_OUT, [0, 1, 2], {})


def per_class(chosen: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return np.bincount(LABELS[chosen], minlength=3).tolist()


def test_every_class_gives_the_same_share_and_at_least_one() -> None:
    assert per_class(teaching_subset(SPLIT, 0.1, 0)) == [8, 4, 1]
    assert per_class(teaching_subset(SPLIT, 0.01, 0)) == [1, 1, 1]
    assert per_class(teaching_subset(SPLIT, 1.0, 0)) == [80, 32, 4]


@given(st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 50))
def test_smaller_subsets_lie_in_larger_ones_and_judges_in_none(one: float, other: float, seed: int) -> None:
    small, large = (teaching_subset(SPLIT, share, seed) for share in sorted((one, other)))
    assert not (small & ~large).any()
    assert not (large & HELD_OUT).any()


def test_the_seed_draws() -> None:
    first, again, other = (teaching_subset(SPLIT, 0.1, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
