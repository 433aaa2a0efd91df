"""What training and judging ask of a detector."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Generator, Tensor, nn

from worker.evaluation.detectors.scenes import Scene
from worker.evaluation.detectors.trunk import DetectionTrunk


class Found(NamedTuple):
    """What a detector tells about one image, on its device; the surest first."""

    boxes: Tensor
    """float32 (n, 4), pixels of the original image."""
    labels: Tensor
    """int64 (n,), classes from 0."""
    scores: Tensor
    """float32 (n,), 0..1."""


class Detector(Protocol):
    @property
    def network(self) -> nn.Module: ...

    @property
    def trunk(self) -> DetectionTrunk: ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The ways of looking at test images, each a column of the table."""

    def losses(self, images: Sequence[int], generator: Generator) -> dict[str, Tensor]:
        """Of the training scenes at `images`, () each; their sum is what is minimised. All draws that don't happen in
        the network come from `generator`, which is on the CPU."""

    def detect(self, scene: Scene, column: str) -> Found: ...
