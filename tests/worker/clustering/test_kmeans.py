import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.clustering.features import Points
from worker.clustering.kmeans import Clustering, distinct_points, kmeans
from worker.clustering.nearest import NearestCentre, assign
from worker.config.reasons import Reason
from worker.stages.contract import StageError


def cluster(points: NDArray[np.float32], k: int, iterations: int = 20, seed: int = 0) -> Clustering:
    search = NearestCentre(points.shape[1])
    return kmeans(Points(points), k, iterations, np.random.default_rng(seed), search, lambda iteration, inertia: None)


def sizes(points: NDArray[np.float32], clustering: Clustering) -> NDArray[np.int64]:
    labels, _ = assign(Points(points), clustering.centres, NearestCentre(points.shape[1]))
    return np.bincount(labels, minlength=len(clustering.centres))


def blobs(centres: int, each: int, dim: int = 8) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    middles = rng.normal(0, 100, (centres, 1, dim))
    return (middles + rng.normal(0, 1, (centres, each, dim))).reshape(-1, dim).astype(np.float32)


def test_recovers_gaussian_blobs() -> None:
    points = blobs(centres=5, each=40)
    best = min((cluster(points, 5, seed=seed) for seed in range(10)), key=lambda found: found.inertia)
    labels, _ = assign(Points(points), best.centres, NearestCentre(8))
    assert sorted(sizes(points, best)) == [40] * 5
    assert all(len(set(labels[start : start + 40])) == 1 for start in range(0, 200, 40))


def test_centres_are_the_means_of_their_members_once_nothing_moves() -> None:
    points = blobs(centres=3, each=30)
    found = cluster(points, 3, iterations=100)
    assert len(found.inertia_per_iteration) < 100
    labels, squared = assign(Points(points), found.centres, NearestCentre(8))
    for label, centre in enumerate(found.centres):
        np.testing.assert_allclose(centre, points[labels == label].mean(axis=0), rtol=1e-4, atol=1e-4)
    assert found.inertia == pytest.approx(squared.sum(), rel=1e-5)


def test_inertia_never_rises_without_empty_clusters() -> None:
    found = cluster(np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32), 10)
    assert found.empty_reseeded == 0
    assert all(
        later <= earlier * (1 + 1e-5)
        for earlier, later in zip(found.inertia_per_iteration, found.inertia_per_iteration[1:], strict=False)
    )


def test_small_pieces_give_the_same_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(centres=6, each=20)
    whole = cluster(points, 6)
    monkeypatch.setattr("worker.clustering.features.CHUNK_BYTES", 7 * 8 * 4)
    pieces = cluster(points, 6)
    np.testing.assert_allclose(pieces.centres, whole.centres, rtol=1e-5)


def test_the_same_seed_gives_bit_equal_centres_and_another_seed_others() -> None:
    points = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    assert cluster(points, 20, seed=3).centres.tobytes() == cluster(points, 20, seed=3).centres.tobytes()
    assert cluster(points, 20, seed=3).centres.tobytes() != cluster(points, 20, seed=4).centres.tobytes()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_no_cluster_is_ever_empty_however_many_points_repeat(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=2, max_size=60))
    points = np.array(values, np.float32)
    different = len(set(values))
    k = data.draw(st.integers(1, different))
    iterations = data.draw(st.integers(1, 5))
    assert sizes(points, cluster(points, k, iterations)).min() >= 1


def test_a_cluster_for_every_different_point_keeps_each() -> None:
    points = np.repeat(np.arange(40, dtype=np.float32)[:, None] * [[1.0, 2.0]], 5, axis=0).astype(np.float32)
    found = cluster(points, 40)
    assert found.inertia == 0
    assert sizes(points, found).tolist() == [5] * 40


def test_empty_clusters_are_reseeded_from_far_outliers() -> None:
    # Most points coincide; random centres among the rest lose theirs as soon as the means move.
    rng = np.random.default_rng(0)
    points = np.concatenate([np.zeros((400, 2)), rng.normal(0, 1e-3, (50, 2)), rng.normal(0, 50, (50, 2))])
    found = cluster(points.astype(np.float32), 60)
    assert sizes(points.astype(np.float32), found).min() >= 1


def test_fewer_different_points_than_clusters_are_refused_in_words() -> None:
    points = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    with pytest.raises(StageError, match="only 3 of the 30 images differ") as caught:
        cluster(points, 4)
    assert caught.value.reason is Reason.k_too_large


def test_first_centres_are_different_points() -> None:
    points = np.repeat(np.arange(20, dtype=np.float32)[:, None], 30, axis=0)
    for seed in range(5):
        assert len(set(distinct_points(Points(points), 15, np.random.default_rng(seed))[:, 0])) == 15


def test_values_that_are_not_numbers_are_refused() -> None:
    points = np.ones((30, 4), np.float32) * np.arange(30, dtype=np.float32)[:, None]
    points[7, 2] = np.nan
    with pytest.raises(StageError, match="aren't finite") as caught:
        cluster(points, 3)
    assert caught.value.reason is Reason.artifact_corrupt
