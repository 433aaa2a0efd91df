import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.evaluation.split import ProbeSplit
from worker.evaluation.subset import teaching_subset

LABELS = np.array([0] * 100 + [1] * 40 + [2] * 5)
HELD_OUT = np.arange(145) % 5 == 0
PATHS = [f"{number:03}.jpg" for number in range(145)]
SPLIT = ProbeSplit(np.arange(145), LABELS, HELD_OUT, [0, 1, 2], {})


def per_class(chosen: NDArray[np.bool_]) -> list[int]:
    counts: list[int] = np.bincount(LABELS[chosen], minlength=3).tolist()
    return counts


def test_every_class_gives_the_same_share_and_at_least_one() -> None:
    assert per_class(teaching_subset(SPLIT, PATHS, 0.1, 0)) == [8, 4, 1]
    assert per_class(teaching_subset(SPLIT, PATHS, 0.01, 0)) == [1, 1, 1]
    assert per_class(teaching_subset(SPLIT, PATHS, 1.0, 0)) == [80, 32, 4]


@given(st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 50))
def test_smaller_subsets_lie_in_larger_ones_and_judges_in_none(one: float, other: float, seed: int) -> None:
    small, large = (teaching_subset(SPLIT, PATHS, share, seed) for share in sorted((one, other)))
    assert not (small & ~large).any()
    assert not (large & HELD_OUT).any()


def test_the_seed_draws() -> None:
    first, again, other = (teaching_subset(SPLIT, PATHS, 0.1, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def without(images: set[int]) -> ProbeSplit:
    """The split of a store of the same photographs, in the same order, less these."""
    left = np.array([number not in images for number in range(145)])
    return ProbeSplit(np.arange(left.sum()), LABELS[left], HELD_OUT[left], [0, 1, 2], {})


def drawn(split: ProbeSplit, images: set[int], share: float, seed: int) -> set[str]:
    paths = [path for number, path in enumerate(PATHS) if number not in images]
    return {paths[row] for row in np.flatnonzero(teaching_subset(split, paths, share, seed))}


@given(st.sets(st.integers(0, 99), max_size=50), st.floats(0.01, 1), st.integers(0, 20))
def test_images_that_come_push_out_no_more_than_themselves(later: set[int], share: float, seed: int) -> None:
    names = {PATHS[number] for number in later}
    before, after = drawn(without(later), later, share, seed), drawn(SPLIT, set(), share, seed)
    assert len(before - after) <= len(after & names)


def test_a_class_s_images_are_drawn_in_the_order_of_the_md5_of_seed_and_path() -> None:
    teaching = [path for path, label, held in zip(PATHS, LABELS, HELD_OUT, strict=True) if label == 1 and not held]
    order = sorted(teaching, key=lambda path: hashlib.md5(f"7/{path}".encode()).digest())
    for share, count in ((0.1, 4), (0.5, 16)):
        chosen = teaching_subset(SPLIT, PATHS, share, 7)
        assert {PATHS[row] for row in np.flatnonzero(chosen & (LABELS == 1))} == set(order[:count])
