"""The centroids on disk: the centres and how they came about."""

import json
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from worker.clustering.features import FeatureSpace
from worker.clustering.whitening import Whitening
from worker.config.reasons import Reason
from worker.stages.contract import StageError


class ClusteringFacts(FeatureSpace):
    """`clustering.json`: the space of the features that were clustered, and how."""

    k: int
    dim: int
    """Of the centres: the features', or with `whiten` that many components'."""
    whiten: int | None = None
    """The features were projected on this many whitened principal components, before anything else."""
    l2_normalise: bool
    """The centres lie among features that were projected to the unit sphere."""
    sizes: list[int]
    """Images per cluster, of all images, the sampled-out ones too."""
    entropy: float
    entropy_normalised: float
    smallest: int
    largest: int
    tiny_share: float
    giant_share: float
    inertia: float
    inertia_per_iteration: list[float]
    iterations: int
    """Done by the best restart; fewer than asked for where no image changed its cluster any more."""
    empty_reseeded: int
    seconds_per_iteration: float
    engine: str


class Centroids:
    """`(k, dim)` float32 centres with their facts. Raises `StageError(artifact_corrupt)` where the files disagree."""

    def __init__(
        self, centres: NDArray[np.float32], facts: ClusteringFacts, whitening: Whitening | None = None
    ) -> None:
        self.centres = centres
        self.facts = facts
        self.whitening = whitening

    @classmethod
    def open(cls, folder: Path) -> Self:
        try:
            facts = ClusteringFacts.model_validate(json.loads((folder / "clustering.json").read_text()))
            centres = np.load(folder / "centroids.npy")
            whitening = None if facts.whiten is None else Whitening.open(folder)
        except (OSError, ValueError, ValidationError) as error:
            raise StageError(Reason.artifact_corrupt, f"The centroids can't be read: {error}") from error
        if centres.shape != (facts.k, facts.dim):
            message = f"The centroids are {centres.shape}, but clustering.json says ({facts.k}, {facts.dim})."
            raise StageError(Reason.artifact_corrupt, message)
        return cls(centres, facts, whitening)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "centroids.npy", self.centres)
        if self.whitening is not None:
            self.whitening.save(folder)
        (folder / "clustering.json").write_text(self.facts.model_dump_json(indent=2))
