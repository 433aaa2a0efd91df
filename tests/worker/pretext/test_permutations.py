from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.config.reasons import Reason
from worker.pretext.permutations import make_permutations
from worker.stages.contract import StageError


def test_701_permutations_are_unique_valid_and_never_the_identity() -> None:
    table = make_permutations(701, 3).table
    assert table.shape == (701, 9)
    assert (np.sort(table, axis=1) == np.arange(9)).all()
    assert len(np.unique(table, axis=0)) == 701
    assert not (table == np.arange(9)).all(axis=1).any()


def test_every_pair_of_701_differs_in_three_slots_or_more() -> None:
    made = make_permutations(701, 3)
    distances = np.concatenate([(made.table[i] != made.table[i + 1 :]).sum(1) for i in range(700)])
    assert made.min_hamming == distances.min() >= 3
    assert made.mean_hamming == pytest.approx(distances.mean())


def test_two_hidden_slots_never_make_two_of_701_alike() -> None:
    table = make_permutations(701, 3).table
    for hidden in combinations(range(9), 2):
        assert len(np.unique(np.delete(table, hidden, axis=1), axis=0)) == 701


def test_701_are_found_at_distance_five_too() -> None:
    assert make_permutations(701, 5).min_hamming >= 5


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 60), min_hamming=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_any_modest_request_is_met(count: int, min_hamming: int, seed: int) -> None:
    made = make_permutations(count, min_hamming, seed)
    assert len(np.unique(made.table, axis=0)) == count
    assert made.min_hamming >= min_hamming


def test_the_seed_decides_the_set() -> None:
    first, again, other = make_permutations(50, 5, 1), make_permutations(50, 5, 1), make_permutations(50, 5, 2)
    assert (first.table == again.table).all()
    assert (first.table != other.table).any()


def test_an_impossible_set_says_how_many_were_found() -> None:
    with pytest.raises(StageError, match=r"Only 9 permutations .* 10 are asked for") as caught:
        make_permutations(10, 9)
    assert caught.value.reason is Reason.bad_config
