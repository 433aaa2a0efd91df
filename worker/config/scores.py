"""What an evaluation found: the numbers of one protocol for one checkpoint, each with its interval and its proof.

`evaluation.json` of the stages `probe` and `transfer` is a `ScoreSheet`; the artifact's summary is the same, so the
leaderboard needs the registry alone. Beside it lie `images.json` (ids of the judged images, in order) and, for every
column of the first metric that is right or wrong image by image, `right_<column>.npy` (float32, `(images,)`: mean over
the seeds of 1 for right, 0 for wrong), from which two checkpoints are compared in pairs.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, FiniteFloat

from worker.config.base import Config


class ProtocolName(StrEnum):
    linear = "linear"
    """Linear probes on frozen maps (Tables 4 and 5)."""
    nonlinear = "nonlinear"
    """Frozen up to a layer, the rest retrained (Table 6)."""
    retrieval = "retrieval"
    """k nearest neighbours and mean average precision of the ranking."""
    low_shot = "low_shot"
    """A share of the labels, linear probe and fine-tuning."""
    clusters = "clusters"
    """Agreement of k-means clusters with labels and with themselves."""
    voc_classification = "voc_classification"
    voc_detection = "voc_detection"
    voc_segmentation = "voc_segmentation"


Table = Literal[3, 4, 5, 6]
"""The paper's tables; Table 5 is Table 4 on photographs other than the pretraining's."""


class Cell(Config):
    """One number, a share 0..1, with its interval at `confidence`; what is no number makes no cell."""

    value: FiniteFloat
    """Mean over the seeds."""
    low: FiniteFloat
    high: FiniteFloat
    interval: str
    """How the interval was made, in words: `Wilson over images`, `bootstrap over images`, `Student over seeds`."""
    n: int
    """Judged images (or objects, as the protocol says)."""
    per_seed: dict[str, FiniteFloat] = Field(default={})


class ScoreSheet(Config):
    """All numbers of one evaluation, and everything needed to doubt them."""

    protocol: ProtocolName
    metric: str
    """Of `cells`: `top1`, `mAP`, `mIoU`, ..."""
    table: Table | None = None
    """Where the cells belong; the leaderboard tells Table 4 from 5 by the photographs of pretraining and evaluation."""
    cells: dict[str, Cell]
    """Column -> cell: `conv1`..`conv5`, `fc6`, `fc7`; `class`; `det_ss`, `det_ms`; `segm`; others by protocol."""
    further: dict[str, dict[str, Cell]] = Field(default={})
    """Other metrics of the same columns, e.g. `{"top5": {...}}`."""
    confidence: float = 0.95
    config: dict[str, Any] = Field(default={})
    """The protocol's config with no `"auto"` left."""
    facts: dict[str, Any] = Field(default={})
    """Images to learn and to judge, classes, input side, seconds, dropped classes, skipped images, ..."""
    deviations: tuple[str, ...] = ()
    """How this differs from the paper's protocol, a sentence each: image size, subset of classes, schedule."""
    dataset: str
    """Digest of the images that were judged."""
    photographs: str | None = None
    """Digest of the dataset's photographs alone (`worker.data.store.photographs_digest`); None of annotated ones, and
    of evaluations by earlier versions."""
    checkpoint: dict[str, Any] = Field(default={})
    """`role`, `backbone`, `weights_sha256`; of its training `dataset`, `photographs`, `method`, `epochs`, `images_seen`
    if known."""
    trunk_unchanged: bool | None = None
    """Digest of the frozen layers equal before and after; None where nothing is frozen."""
    revision: str | None = None
    """Git revision of the code that measured."""
