import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.clustering.balance import balance


def test_equal_clusters_have_full_entropy() -> None:
    facts = balance(np.full(8, 5))
    assert facts["entropy"] == pytest.approx(math.log(8))
    assert facts["entropy_normalised"] == pytest.approx(1)
    assert (facts["tiny_share"], facts["giant_share"]) == (0, 0)


def test_tiny_and_giant_clusters_are_counted() -> None:
    facts = balance(np.array([1] * 10 + [990] + [1] * 9))
    assert facts["giant_share"] == pytest.approx(990 / 1009)
    assert facts["tiny_share"] == pytest.approx(19 / 20)
    assert (facts["smallest"], facts["largest"]) == (1, 990)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=30).filter(any))
def test_entropy_lies_between_none_and_full(sizes: list[int]) -> None:
    assert -1e-12 <= balance(np.array(sizes))["entropy_normalised"] <= 1 + 1e-12
