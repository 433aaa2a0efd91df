from typing import Annotated, Literal

from pydantic import Field

from worker.config.base import Auto, DatasetFacts, StageConfig

IMAGES_PER_CLUSTER = 30
"""Our choice for an auto k; the paper's 640 images a cluster would leave small sets too few labels."""


class ClusterConfig(StageConfig):
    """k-means on the features (paper section 3; SPEC section 4). All points train unless `sample` says otherwise."""

    k: Annotated[int, Field(ge=2)] | Auto = Field(2000, description="clusters; auto: one per 30 images, 2..2000")
    iterations: int = Field(20, ge=1, le=1000)
    whiten: int | None = Field(
        None,
        ge=1,
        description="project features on this many principal components of unit variance; the paper has none",
    )
    l2_normalise: bool = Field(False, description="project features to the unit sphere first; the paper does not")
    sample: int | None = Field(None, ge=2, description="train on this many random images (all are assigned)")
    restarts: int = Field(1, ge=1, le=20, description="best of this many runs, by inertia")
    engine: Literal["faiss"] = "faiss"
    seed: int = 0

    def resolved(self, facts: DatasetFacts) -> "ClusterConfig":
        if self.k != "auto":
            return self
        return self.model_copy(update={"k": max(2, min(2000, facts.image_count // IMAGES_PER_CLUSTER))})
