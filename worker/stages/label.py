"""The nearest centre of every image is its pseudo-label (paper section 3; SPEC section 4)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.clustering.centroids import Centroids
from worker.clustering.features import FeatureFacts, FeatureSet
from worker.clustering.nearest import NearestCentre, squared_distances
from worker.config.label import LabelConfig
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.stages.contract import Context, Inputs, Produced, Result, StageError, Stopped
from worker.stages.label_set import write_label_set
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
    labels, distances = _label(config, features, centroids, context)
    folder, facts = context.workdir / "labels", centroids.facts
    made_from = {"tap": facts.tap, "l2_normalise": facts.l2_normalise, "checkpoint": facts.checkpoint}
    return LabelResult(
        labels=write_label_set(folder, inputs.store, labels, facts.k, "clustering", distances, features=made_from)
    )


def _check_store(facts: FeatureFacts, store: ImageStore) -> None:
    if (facts.store, facts.count) != (store.digest, store.count):
        message = (
            f"The features ({facts.count} images) were extracted from other images than this store's {store.count}."
        )
        raise StageError(Reason.bad_config, message)


def _check_space(facts: FeatureFacts, centroids: Centroids) -> None:
    other = centroids.facts
    if (facts.tap, facts.shape) != (other.tap, other.shape) or facts.dim != other.dim:
        message = f"The features are {facts.tap} {facts.shape}, but the centroids lie in {other.tap} {other.shape}."
        raise StageError(Reason.bad_config, message)
    if (facts.pooling, facts.mirror) != (other.pooling, other.mirror):
        raise StageError(
            Reason.bad_config, "The features were pooled or mirrored otherwise than those of the centroids."
        )
    if facts.space() != other.space():
        raise StageError(Reason.bad_config, "The features come from another network (or codebook) than the centroids.")


def _label(
    config: LabelConfig, features: FeatureSet, centroids: Centroids, context: Context
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """int32 labels and float32 Euclidean distances, `(count,)` each, in the space of the clustering."""
    points = features.points(centroids.facts.l2_normalise, at_a_time=config.chunk)
    search = NearestCentre(points.dim, context.device)
    search.place(centroids.centres)
    labels = np.empty(points.count, np.int32)
    distances = np.empty(points.count, np.float32)
    for part, chunk in points.chunks():
        nearest, _ = search.find(chunk)
        labels[part] = nearest
        distances[part] = np.sqrt(squared_distances(chunk, centroids.centres, nearest))
        context.progress(part.stop, points.count, "images")
        if context.should_stop():
            raise Stopped
    return labels, distances


if __name__ == "__main__":
    main(run, LabelConfig, LabelInputs)
