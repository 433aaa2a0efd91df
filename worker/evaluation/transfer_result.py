"""What a protocol of fine-tuning on annotated photographs found; the stage `transfer` makes a score sheet of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.config.scores import Cell
from worker.config.transfer import TransferProtocol


@dataclass(frozen=True)
class TransferResult:
    cells: Mapping[str, Cell]
    """Column (`class`, `det_ss`, `det_ms`, `segm`) -> its number."""
    metric: str
    """Of `cells`: `mAP`, `mIoU`."""
    image_ids: Sequence[str]
    """Of the judged images, in order: `VOC2007/000012`."""
    further: Mapping[str, Mapping[str, Cell]] = field(default_factory=dict)
    """Other metrics -> column -> cell: `{"AP cat": {"class": ...}}`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON facts: counts of images and objects, classes, losses, seconds, images per second."""
    deviations: Sequence[str] = ()
    """How this differs from the paper's protocol, a sentence each."""
    right: Mapping[str, NDArray[np.float32]] | None = None
    """Column -> float32 (judged images,): mean over the seeds of each image's score 0..1, larger is better, where the
    protocol has such a one; two checkpoints are compared by it in pairs."""
    trunk_unchanged: bool | None = None
    """Digest of frozen layers equal before and after; None where nothing is frozen."""
    protocol: TransferProtocol | None = None
    """What was measured, with no `"auto"` left; None where the protocol that was asked for has none."""
