from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from worker.clustering.whitening import Whitening, learn_whitening
from worker.config.reasons import Reason
from worker.stages.contract import StageError


def correlated(count: int, dim: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(count, dim)) @ np.diag(np.linspace(3, 0.5, dim)) @ generator.normal(size=(dim, dim))
    return (mixed + generator.normal(size=dim)).astype(np.float32)


@pytest.mark.parametrize(("count", "dim"), [(60, 12), (20, 50)])
def test_points_are_projected_as_scikit_learn_does(count: int, dim: int) -> None:
    points = correlated(count, dim)
    whitened = learn_whitening(points, 5, "cpu").apply(points)
    expected = PCA(5, whiten=True, svd_solver="full").fit_transform(points.astype(np.float64))
    signs = np.sign((whitened * expected).sum(0))
    np.testing.assert_allclose(whitened, expected * signs, atol=2e-3)


def test_components_are_uncorrelated_and_of_unit_variance() -> None:
    points = correlated(200, 10)
    whitened = learn_whitening(points, 10, "cpu").apply(points)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(10), atol=1e-3)
    np.testing.assert_allclose(whitened.mean(0), 0, atol=1e-3)


def test_it_can_be_written_and_read(tmp_path: Path) -> None:
    points = correlated(30, 6)
    whitening = learn_whitening(points, 4, "cpu")
    whitening.save(tmp_path)
    read = Whitening.open(tmp_path)
    assert read.components == 4
    np.testing.assert_array_equal(read.apply(points), whitening.apply(points))


@pytest.mark.parametrize(
    ("points", "found"), [(correlated(5, 9), 4), (correlated(9, 3), 3), (np.ones((9, 3), np.float32), 0)]
)
def test_more_components_than_there_are_directions_are_refused(points: NDArray[np.float32], found: int) -> None:
    with pytest.raises(StageError, match=rf"asks for 8 components, .* vary in {found}\.") as caught:
        learn_whitening(points, 8, "cpu")
    assert caught.value.reason is Reason.bad_config
