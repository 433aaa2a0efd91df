from typing import Literal

from pydantic import Field

from worker.config.base import StageConfig

Tap = Literal["conv1", "conv2", "conv3", "conv4", "conv5"]


class EvaluateConfig(StageConfig):
    """kNN and linear probes of a random network, the teacher and the student, on images held out from the probe."""

    taps: tuple[Tap, ...] = ("conv1", "conv2", "conv3", "conv4", "conv5")
    holdout: float = Field(0.2, gt=0, lt=1, description="share of labelled images held out, by the md5 of their path")
    max_dims: int = Field(9600, ge=16, description="maps are average-pooled until at most this many values are left")
    knn: int = Field(20, ge=1)
    probe_epochs: int = Field(30, ge=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one probe training per seed")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    max_images: int | None = Field(None, ge=10, description="evaluate on this many images, drawn by seed")
    batch: int = Field(128, ge=1)


class ReportConfig(StageConfig):
    """Pictures and words: the clusters' contact sheet, conv1's filters, what the numbers show."""

    clusters: int = Field(40, ge=1, description="rows of the contact sheet, the largest clusters first")
    images_per_cluster: int = Field(12, ge=1)
    thumbnail: int = Field(64, ge=16, description="pixels")
