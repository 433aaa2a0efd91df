import numpy as np

from worker.clustering.features import Points
from worker.clustering.nearest import NearestCentre, assign


def test_equals_brute_force() -> None:
    rng = np.random.default_rng(0)
    points, centres = rng.normal(size=(200, 12)).astype(np.float32), rng.normal(size=(9, 12)).astype(np.float32)
    labels, squared = assign(Points(points), centres, NearestCentre(12))
    apart = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(labels, apart.argmin(axis=1))
    np.testing.assert_allclose(squared, apart.min(axis=1), rtol=1e-5)


def test_a_point_on_its_centre_is_exactly_there() -> None:
    points = np.random.default_rng(0).normal(1000, 1, (50, 30)).astype(np.float32)
    _, squared = assign(Points(points), points[:3], NearestCentre(30))
    np.testing.assert_array_equal(squared[:3], 0)
