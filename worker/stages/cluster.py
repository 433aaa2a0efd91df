"""k-means on the features: the centres that make pseudo-labels (paper section 3; SPEC section 4)."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.clustering.balance import balance
from worker.clustering.centroids import Centroids, ClusteringFacts
from worker.clustering.features import FeatureSet, Points
from worker.clustering.kmeans import Clustering, kmeans
from worker.clustering.nearest import NearestCentre, assign
from worker.clustering.whitening import SAMPLE, Whitening, learn_whitening
from worker.config.base import DatasetFacts
from worker.config.cluster import ClusterConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.stages.contract import Context, Inputs, Produced, Result, StageError, Stopped
from worker.stages.standalone import main

FEW_IMAGES = 10
"""Mean images per cluster below which the labels are likely noise (our choice; the paper has 640)."""


class ClusterInputs(Inputs):
    features: Path


class ClusterResult(Result):
    centroids: Produced


def run(config: ClusterConfig, inputs: ClusterInputs, context: Context) -> ClusterResult:
    """Clusters the feature set; the same seed gives bit-equal centres, and no cluster is empty.

    Raises `StageError(k_too_large)` where there are fewer images, or fewer different ones, than clusters.
    A stopped clustering starts anew: it is short beside the training around it.
    """
    features = FeatureSet.open(inputs.features)
    config = config.resolved(DatasetFacts(image_count=features.facts.count, side=features.facts.side))
    context.resolved(config)
    rows = _sample(config, features.facts.count)
    whitening = _whitening(config, features, rows, context)
    points = features.points(config.l2_normalise, rows, whitening=whitening)
    k = _checked_k(config, points.count, context)
    search = NearestCentre(points.dim, context.device)
    context.log(f"{search.engine}: {points.count} points of {points.dim} values into {k} clusters")
    started = time.perf_counter()
    best = _best_of_restarts(config, k, points, search, context)
    seconds = (time.perf_counter() - started) / (config.restarts * len(best.inertia_per_iteration))
    labels, _ = assign(features.points(config.l2_normalise, whitening=whitening), best.centres, search)
    sizes = np.bincount(labels, minlength=k)
    facts = _facts(config, features, best, sizes, seconds, search.engine)
    Centroids(best.centres, facts, whitening).save(context.workdir / "centroids")
    return ClusterResult(centroids=_produced(context.workdir / "centroids", facts))


def _sample(config: ClusterConfig, count: int) -> NDArray[np.int64] | None:
    if config.sample is None or config.sample >= count:
        return None
    return np.sort(np.random.default_rng(config.seed).choice(count, config.sample, replace=False))


def _whitening(
    config: ClusterConfig, features: FeatureSet, rows: NDArray[np.int64] | None, context: Context
) -> Whitening | None:
    """By a sample of the points that are clustered."""
    if config.whiten is None:
        return None
    points = features.points(l2_normalise=False, rows=rows)
    sample = np.arange(points.count)
    if points.count > SAMPLE:
        sample = np.sort(np.random.default_rng(config.seed).choice(points.count, SAMPLE, replace=False))
    context.log(f"{config.whiten} principal components of {len(sample)} images' features are computed.")
    return learn_whitening(points.take(sample), config.whiten, context.device)


def _checked_k(config: ClusterConfig, count: int, context: Context) -> int:
    if config.k == "auto":
        raise ValueError("k is resolved before")
    if config.k > count:
        raise StageError(Reason.k_too_large, f"k = {config.k} clusters can't be made of {count} images.")
    if count < FEW_IMAGES * config.k:
        message = f"only {count / config.k:.1f} images per cluster: the pseudo-labels may be noise, a lower k is safer"
        context.log(message, "warning")
    return config.k


def _best_of_restarts(
    config: ClusterConfig, k: int, points: Points, search: NearestCentre, context: Context
) -> Clustering:
    total = config.iterations * config.restarts
    best: Clustering | None = None
    for restart in range(config.restarts):

        def on_iteration(iteration: int, inertia: float, done: int = restart * config.iterations) -> None:
            context.progress(done + iteration, total, "iterations")
            context.metric("inertia", done + iteration, inertia)
            if context.should_stop():
                raise Stopped

        rng = np.random.default_rng([config.seed, restart])
        clustering = kmeans(points, k, config.iterations, rng, search, on_iteration)
        if best is None or clustering.inertia < best.inertia:
            best = clustering
    assert best is not None
    context.progress(total, total, "iterations")
    return best


def _facts(
    config: ClusterConfig,
    features: FeatureSet,
    best: Clustering,
    sizes: NDArray[np.int64],
    seconds_per_iteration: float,
    engine: str,
) -> ClusteringFacts:
    history = best.inertia_per_iteration
    return ClusteringFacts(
        k=len(sizes),
        dim=best.centres.shape[1],
        whiten=config.whiten,
        l2_normalise=config.l2_normalise,
        sizes=sizes.tolist(),
        **balance(sizes),
        inertia=best.inertia,
        inertia_per_iteration=history,
        iterations=len(history),
        empty_reseeded=best.empty_reseeded,
        seconds_per_iteration=seconds_per_iteration,
        engine=engine,
        **features.facts.space().model_dump(),
    )


def _produced(folder: Path, facts: ClusteringFacts) -> Produced:
    summary: dict[str, Any] = facts.model_dump(mode="json", exclude={"sizes", "inertia_per_iteration"})
    return Produced(kind=ArtifactKind.centroids, path=folder, summary=summary)


if __name__ == "__main__":
    main(run, ClusterConfig, ClusterInputs)
