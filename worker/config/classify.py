from typing import Literal

from pydantic import Field

from worker.config.base import Config
from worker.config.student import StudentConfig


class ClassifierHeadConfig(Config):
    """fc6, fc7 and the layer over the clusters (AlexNet's own: 4096, 4096)."""

    width: int = Field(4096, ge=16)
    dropout: float = Field(0.5, ge=0, lt=1)


class ClassifyConfig(StudentConfig):
    """Cluster classification: the student learns the pseudo-labels from scratch (paper section 3; SPEC section 5)."""

    head: ClassifierHeadConfig = ClassifierHeadConfig()
    grey: float = Field(
        0.0, ge=0, le=1, description="share of images seen in grey, so colour alone can't tell clusters"
    )
    balance: Literal["images", "clusters"] = Field("images", description="draw images, or clusters, uniformly")
    soft: bool = Field(False, description="learn each image's shares of its nearest clusters, as `label` wrote them")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
