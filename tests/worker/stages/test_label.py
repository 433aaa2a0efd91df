import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.stages.feature_sets import small_store, write_features
from worker.config.cluster import ClusterConfig
from worker.config.label import LabelConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.stages import cluster, label
from worker.stages.contract import StageError, Stopped
from worker.stages.standalone import LocalContext


class Given:
    """A store, its features, and centroids clustered from them."""

    def __init__(self, path: Path, l2_normalise: bool = False) -> None:
        self.path = path
        self.store = small_store(path / "store", 90)
        self.values = np.random.default_rng(0).normal(size=(90, 12)).astype(np.float32)
        self.features = write_features(path / "features", self.values, self.store.digest)
        config = ClusterConfig(k=7, l2_normalise=l2_normalise)
        made = cluster.run(config, cluster.ClusterInputs(features=self.features), LocalContext(path / "clustering"))
        self.centroids = made.centroids.path

    def inputs(self, **changed: Path) -> label.LabelInputs:
        roles = {"store": self.store.path, "features": self.features, "centroids": self.centroids}
        return label.LabelInputs(**{**roles, **changed})

    def label(self, inputs: label.LabelInputs | None = None, **config: object) -> label.LabelResult:
        return label.run(LabelConfig(**config), inputs or self.inputs(), LocalContext(self.path / "out"))


def brute_force(values: NDArray[np.float32], centres: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    apart = np.sqrt(((values[:, None, :] - centres[None]) ** 2).sum(axis=2))
    return apart.argmin(axis=1), apart.min(axis=1)


@pytest.mark.parametrize("chunk", [1, 32, 65536])
@pytest.mark.parametrize("l2_normalise", [False, True])
def test_every_image_gets_its_nearest_centre(tmp_path: Path, chunk: int, l2_normalise: bool) -> None:
    given = Given(tmp_path, l2_normalise)
    made = given.label(chunk=chunk).labels.path
    values = given.values / np.linalg.norm(given.values, axis=1, keepdims=True) if l2_normalise else given.values
    labels, distances = brute_force(values, np.load(given.centroids / "centroids.npy"))
    np.testing.assert_array_equal(np.load(made / "labels.npy"), labels)
    np.testing.assert_allclose(np.load(made / "distances.npy"), distances, rtol=1e-4)


def test_the_artifact_can_be_read_alone(tmp_path: Path) -> None:
    given = Given(tmp_path)
    produced = given.label().labels
    facts = json.loads((produced.path / "labels.json").read_text())
    labels = np.load(produced.path / "labels.npy")
    assert produced.kind is ArtifactKind.pseudo_label_set
    assert (labels.dtype, np.load(produced.path / "distances.npy").dtype) == (np.int32, np.float32)
    assert (facts["k"], facts["count"]) == (7, 90)
    assert facts["sizes"] == np.bincount(labels, minlength=7).tolist()
    assert (produced.path / "manifest.jsonl").read_text() == (given.store.path / "manifest.jsonl").read_text()


def test_the_clustered_images_fall_where_the_clustering_counted_them(tmp_path: Path) -> None:
    given = Given(tmp_path)
    sizes = json.loads((given.label().labels.path / "labels.json").read_text())["sizes"]
    assert sizes == json.loads((given.centroids / "clustering.json").read_text())["sizes"]


def test_another_dataset_is_labelled_by_the_same_centres(tmp_path: Path) -> None:
    given = Given(tmp_path)
    store = small_store(tmp_path / "other", 5)
    values = np.load(given.centroids / "centroids.npy")[[3, 1, 1, 0, 6]]
    features = write_features(tmp_path / "other_features", values, store.digest)
    made = given.label(given.inputs(store=store.path, features=features)).labels.path
    assert np.load(made / "labels.npy").tolist() == [3, 1, 1, 0, 6]
    assert np.load(made / "distances.npy").max() == 0


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"tap": "conv5"}, "conv5 .* but the centroids lie in conv4"),
        ({"shape": (3, 2, 2)}, r"\(3, 2, 2\), but the centroids"),
        ({"checkpoint": {"role": "student"}}, "another network"),
        ({"conv1_stride": 2}, "another network"),
        ({"mirror": True}, "pooled or mirrored otherwise"),
        ({"pooling": "average"}, "pooled or mirrored otherwise"),
        ({"store": "some other digest"}, "other images than this store"),
    ],
)
def test_features_that_do_not_fit_are_refused(tmp_path: Path, facts: dict[str, Any], sentence: str) -> None:
    given = Given(tmp_path)
    features = write_features(tmp_path / "other", given.values, **{"store": given.store.digest, **facts})
    with pytest.raises(StageError, match=sentence) as caught:
        given.label(given.inputs(features=features))
    assert caught.value.reason is Reason.bad_config


def test_other_dimensions_are_refused(tmp_path: Path) -> None:
    given = Given(tmp_path)
    features = write_features(tmp_path / "other", given.values[:, :5], given.store.digest)
    with pytest.raises(StageError, match=r"\(5, 1, 1\), but the centroids lie in conv4 \(12, 1, 1\)"):
        given.label(given.inputs(features=features))


def test_stops_between_pieces(tmp_path: Path) -> None:
    given = Given(tmp_path)
    context = LocalContext(tmp_path / "stopped", stop_after=1)
    with pytest.raises(Stopped):
        label.run(LabelConfig(chunk=30), given.inputs(), context)
    assert context.done == (60, 90, "images")
    assert not list(context.workdir.iterdir())


def test_soft_labels_hold_the_nearest_clusters_and_their_shares(tmp_path: Path) -> None:
    given = Given(tmp_path)
    hard = given.label().labels.path
    made = label.run(LabelConfig(nearest=3, temperature=0.2), given.inputs(), LocalContext(tmp_path / "soft")).labels
    clusters, shares = np.load(made.path / "soft_clusters.npy"), np.load(made.path / "soft_shares.npy")
    centres = np.load(given.centroids / "centroids.npy")
    squared = ((given.values[:, None] - centres[None]) ** 2).sum(2)
    np.testing.assert_array_equal(clusters, squared.argsort(1)[:, :3])
    nearest = np.sort(squared, axis=1)[:, :3]
    slow = np.exp(-(nearest / nearest[:, :1] - 1) / 0.2)
    np.testing.assert_allclose(shares, slow / slow.sum(1, keepdims=True), atol=1e-4)
    for name in ("labels.npy", "distances.npy"):
        np.testing.assert_allclose(np.load(made.path / name), np.load(hard / name), rtol=1e-5)
    assert not (hard / "soft_clusters.npy").exists()


def test_there_are_no_more_shares_than_clusters(tmp_path: Path) -> None:
    given = Given(tmp_path)
    made = given.label(nearest=100).labels.path
    assert np.load(made / "soft_clusters.npy").shape == (90, 7)


def test_another_dataset_is_whitened_by_the_clustering_s_own_components(tmp_path: Path) -> None:
    given = Given(tmp_path)
    config = ClusterConfig(k=5, whiten=4, l2_normalise=True)
    made = cluster.run(config, cluster.ClusterInputs(features=given.features), LocalContext(tmp_path / "whitened"))
    centroids = made.centroids.path
    assert np.load(centroids / "centroids.npy").shape == (5, 4)
    store = small_store(tmp_path / "other", 20)
    values = np.random.default_rng(1).normal(2, 3, size=(20, 12)).astype(np.float32)
    features = write_features(tmp_path / "other_features", values, store.digest)
    labels = given.label(given.inputs(store=store.path, features=features, centroids=centroids)).labels.path
    whitened = (values - np.load(centroids / "mean.npy")) @ np.load(centroids / "projection.npy")
    whitened /= np.linalg.norm(whitened, axis=1, keepdims=True)
    slow, distances = brute_force(whitened, np.load(centroids / "centroids.npy"))
    np.testing.assert_array_equal(np.load(labels / "labels.npy"), slow)
    np.testing.assert_allclose(np.load(labels / "distances.npy"), distances, rtol=1e-3)
