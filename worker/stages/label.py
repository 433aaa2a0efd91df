"""The nearest centre of every image is its pseudo-label (paper section 3; SPEC section 4)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.clustering.centroids import Centroids
from worker.clustering.features import FeatureFacts, FeatureSet
from worker.clustering.nearest import NearestCentre, squared_distances
from worker.clustering.soft import SeveralNearest, soft_weights
from worker.config.label import LabelConfig
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.stages.contract import Context, Inputs, Produced, Result, StageError, Stopped
from worker.stages.label_set import SOFT_CLUSTERS, SOFT_SHARES, write_label_set
from worker.stages.standalone import main


class LabelInputs(Inputs):
    store: Path
    features: Path
    centroids: Path


class LabelResult(Result):
    labels: Produced


def run(config: LabelConfig, inputs: LabelInputs, context: Context) -> LabelResult:
    """Labels every image of the store, which need not be the one that was clustered.

    Raises `StageError(bad_config)` where store, features and centroids don't belong together.
    """
    context.resolved(config)
    features, centroids = FeatureSet.open(inputs.features), Centroids.open(inputs.centroids)
    _check_store(features.facts, ImageStore.open(inputs.store))
    _check_space(features.facts, centroids)
    made = _label(config, features, centroids, context)
    folder, facts = context.workdir / "labels", centroids.facts
    made_from = {
        "tap": facts.tap,
        "whiten": facts.whiten,
        "l2_normalise": facts.l2_normalise,
        "checkpoint": facts.checkpoint,
    }
    labels, distances = np.ascontiguousarray(made.clusters[:, 0]), made.distances
    produced = write_label_set(folder, inputs.store, labels, facts.k, "clustering", distances, features=made_from)
    if made.shares is not None:
        np.save(folder / SOFT_CLUSTERS, made.clusters)
        np.save(folder / SOFT_SHARES, made.shares)
    return LabelResult(labels=produced)


def _check_store(facts: FeatureFacts, store: ImageStore) -> None:
    if (facts.store, facts.count) != (store.digest, store.count):
        message = (
            f"The features ({facts.count} images) were extracted from other images than this store's {store.count}."
        )
        raise StageError(Reason.bad_config, message)


def _check_space(facts: FeatureFacts, centroids: Centroids) -> None:
    other = centroids.facts
    if (facts.tap, facts.shape) != (other.tap, other.shape):
        message = f"The features are {facts.tap} {facts.shape}, but the centroids lie in {other.tap} {other.shape}."
        raise StageError(Reason.bad_config, message)
    if (facts.pooling, facts.mirror) != (other.pooling, other.mirror):
        raise StageError(
            Reason.bad_config, "The features were pooled or mirrored otherwise than those of the centroids."
        )
    if facts.space() != other.space():
        raise StageError(Reason.bad_config, "The features come from another network (or codebook) than the centroids.")


@dataclass(frozen=True, slots=True)
class Nearest:
    clusters: NDArray[np.int32]
    """(count, nearest): the nearest first."""
    distances: NDArray[np.float32]
    """(count,): Euclidean, to the nearest, in the space of the clustering."""
    shares: NDArray[np.float32] | None
    """(count, nearest), of soft labels."""


def _label(config: LabelConfig, features: FeatureSet, centroids: Centroids, context: Context) -> Nearest:
    facts = centroids.facts
    points = features.points(facts.l2_normalise, at_a_time=config.chunk, whitening=centroids.whitening)
    find = _search(config, centroids, context.device)
    nearest = min(config.nearest, facts.k)
    clusters = np.empty((points.count, nearest), np.int32)
    squared = np.empty((points.count, nearest), np.float32)
    for part, chunk in points.chunks():
        found = find(chunk)
        clusters[part] = found
        for place in range(nearest):
            squared[part, place] = squared_distances(chunk, centroids.centres, found[:, place])
        context.progress(part.stop, points.count, "images")
        if context.should_stop():
            raise Stopped
    shares = soft_weights(squared, config.temperature) if config.nearest > 1 else None
    return Nearest(clusters, np.sqrt(squared[:, 0]), shares)


def _search(
    config: LabelConfig, centroids: Centroids, device: str
) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """Points `(m, dim)` -> their clusters `(m, nearest)`."""
    if config.nearest > 1:
        several = SeveralNearest(centroids.centres, device)
        return lambda points: several.find(points, min(config.nearest, centroids.facts.k))
    search = NearestCentre(centroids.centres.shape[1], device)
    search.place(centroids.centres)
    return lambda points: search.find(points)[0][:, None]


if __name__ == "__main__":
    main(run, LabelConfig, LabelInputs)
