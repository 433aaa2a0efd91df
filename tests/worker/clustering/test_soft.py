import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.clustering import soft
from worker.clustering.soft import SeveralNearest, soft_weights
from worker.config.reasons import Reason
from worker.stages.contract import StageError


def test_several_nearest_are_those_of_a_sorted_table(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    centres, points = (generator.normal(size=(n, 6)).astype(np.float32) for n in (9, 40))
    table = ((points[:, None] - centres[None]) ** 2).sum(2).argsort(1)[:, :4]
    np.testing.assert_array_equal(SeveralNearest(centres, "cpu").find(points, 4), table)
    monkeypatch.setattr(soft, "COMPARED", 20)
    np.testing.assert_array_equal(SeveralNearest(centres, "cpu").find(points, 4), table)


def test_points_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(StageError, match="aren't finite") as caught:
        SeveralNearest(np.eye(3, dtype=np.float32), "cpu").find(np.full((1, 3), np.nan, np.float32), 2)
    assert caught.value.reason is Reason.artifact_corrupt


def test_a_centre_farther_by_the_temperature_weighs_one_e_th() -> None:
    (shares,) = soft_weights(np.array([[2.0, 2.2, 2.4]], np.float32), 0.1)
    np.testing.assert_allclose(shares / shares[0], [1, np.exp(-1), np.exp(-2)], rtol=1e-4)


def test_an_image_on_a_centre_belongs_to_it_alone() -> None:
    with np.errstate(over="raise", invalid="raise"):
        assert soft_weights(np.array([[0, 1e-3, 5]], np.float32), 0.1).tolist() == [[1, 0, 0]]


@given(st.lists(st.floats(2**-10, 2**10, width=32), min_size=1, max_size=5), st.floats(0.01, 10), st.floats(0.5, 100))
def test_shares_are_one_in_all_fall_and_have_no_scale(squared: list[float], temperature: float, scale: float) -> None:
    rows = np.sort(np.array([squared], np.float32))
    (shares,) = soft_weights(rows, temperature)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert (np.diff(shares) <= 1e-7).all()
    np.testing.assert_allclose(soft_weights(rows * np.float32(scale), temperature)[0], shares, atol=1e-3)
