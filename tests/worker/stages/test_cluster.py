import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.worker.stages.feature_sets import write_features
from worker.clustering.centroids import Centroids
from worker.config.cluster import ClusterConfig
from worker.config.reasons import Reason
from worker.stages.cluster import ClusterInputs, ClusterResult, run
from worker.stages.contract import StageError, Stopped
from worker.stages.standalone import LocalContext


def features(path: Path, count: int = 200, dim: int = 16, dtype: type[np.floating] = np.float16) -> Path:
    values = np.abs(np.random.default_rng(0).normal(size=(count, dim))).astype(dtype)
    return write_features(path / "features", values)


def cluster(path: Path, folder: Path, **config: object) -> tuple[ClusterResult, LocalContext]:
    context = LocalContext(path)
    return run(ClusterConfig(**config), ClusterInputs(features=folder), context), context


def test_makes_centroids_and_says_how_they_came_about(tmp_path: Path) -> None:
    result, context = cluster(tmp_path / "out", features(tmp_path), k=10, iterations=5)
    made = result.centroids.path
    facts = json.loads((made / "clustering.json").read_text())
    assert np.load(made / "centroids.npy").shape == (10, 16)
    assert np.load(made / "centroids.npy").dtype == np.float32
    assert sum(facts["sizes"]) == 200
    assert min(facts["sizes"]) >= 1
    assert facts["entropy"] <= math.log(10)
    assert (facts["tap"], facts["shape"], facts["checkpoint"]) == ("conv4", [16, 1, 1], {"role": "teacher"})
    assert len(facts["inertia_per_iteration"]) == facts["iterations"]
    assert context.done == (5, 5, "iterations")
    assert [name for name, _, _ in context.metrics] == ["inertia"] * facts["iterations"]
    assert "sizes" not in result.centroids.summary


def test_auto_k_is_resolved_from_the_image_count(tmp_path: Path) -> None:
    result, context = cluster(tmp_path / "out", features(tmp_path, count=300), k="auto")
    assert context.config == ClusterConfig(k=10)
    assert result.centroids.summary["k"] == 10


def test_the_seed_decides_every_bit(tmp_path: Path) -> None:
    folder = features(tmp_path)
    made = [cluster(tmp_path / name, folder, k=12, seed=5)[0].centroids.path for name in ("a", "b")]
    first, second = ((path / "centroids.npy").read_bytes() for path in made)
    assert first == second


def test_restarts_keep_the_best(tmp_path: Path) -> None:
    folder = features(tmp_path)
    inertia = [
        cluster(tmp_path / str(restarts), folder, k=20, restarts=restarts)[0].centroids.summary["inertia"]
        for restarts in (1, 2, 5)
    ]
    assert inertia[0] >= inertia[1] >= inertia[2]
    assert inertia[0] > inertia[2]


def test_normalised_features_have_centres_in_the_unit_ball(tmp_path: Path) -> None:
    result, _ = cluster(tmp_path / "out", features(tmp_path), k=10, l2_normalise=True)
    assert np.linalg.norm(Centroids.open(result.centroids.path).centres, axis=1).max() <= 1 + 1e-6


def test_a_sample_trains_but_all_images_are_counted(tmp_path: Path) -> None:
    result, _ = cluster(tmp_path / "out", features(tmp_path), k=10, sample=50)
    sizes = Centroids.open(result.centroids.path).facts.sizes
    assert sum(sizes) == 200
    assert min(sizes) >= 1


def test_more_clusters_than_images_are_refused_before_any_work(tmp_path: Path) -> None:
    context = LocalContext(tmp_path / "out")
    with pytest.raises(StageError, match="k = 201 clusters can't be made of 200 images") as caught:
        run(ClusterConfig(k=201), ClusterInputs(features=features(tmp_path)), context)
    assert caught.value.reason is Reason.k_too_large
    assert context.done is None
    assert not list(context.workdir.iterdir())


def test_few_images_per_cluster_are_warned_about(tmp_path: Path) -> None:
    _, context = cluster(tmp_path / "out", features(tmp_path), k=50)
    assert any("only 4.0 images per cluster" in message for message in context.messages)


def test_stops_at_an_iteration_and_leaves_nothing(tmp_path: Path) -> None:
    context = LocalContext(tmp_path / "out", stop_after=2)
    with pytest.raises(Stopped):
        run(ClusterConfig(k=10), ClusterInputs(features=features(tmp_path)), context)
    assert len(context.metrics) == 3
    assert not (context.workdir / "centroids").exists()


def test_features_that_disagree_with_their_facts_are_refused(tmp_path: Path) -> None:
    folder = features(tmp_path)
    np.save(folder / "features.npy", np.zeros((3, 16), np.float32))
    with pytest.raises(StageError, match=r"features\.json says") as caught:
        cluster(tmp_path / "out", folder, k=2)
    assert caught.value.reason is Reason.artifact_corrupt


def test_features_may_be_whitened_first(tmp_path: Path) -> None:
    made, _ = cluster(tmp_path, features(tmp_path), k=5, whiten=6)
    whitened = Centroids.open(made.centroids.path)
    assert (whitened.facts.whiten, whitened.facts.dim, whitened.centres.shape) == (6, 6, (5, 6))
    assert whitened.whitening is not None
    assert whitened.whitening.projection.shape == (16, 6)
    plain, _ = cluster(tmp_path / "plain", features(tmp_path / "plain"), k=5)
    assert not (plain.centroids.path / "projection.npy").exists()


def test_more_components_than_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"asks for 17 components, .* vary in 16") as caught:
        cluster(tmp_path, features(tmp_path), k=5, whiten=17)
    assert caught.value.reason is Reason.bad_config
