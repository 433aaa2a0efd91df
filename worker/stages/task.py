"""What the training loop asks of the thing to be learnt."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.data.store import ImageStore
from worker.stages.precision import Precision

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Examples:
    """What a batch of images became: the network's arguments, and the class each of its answers should be."""

    inputs: tuple[Tensor, ...]
    targets: Tensor
    """(answers,) int64."""


class TrainingTask(Protocol):
    """All but the network is free of state: the same arguments give the same order and the same examples."""

    @property
    def network(self) -> nn.Module:
        """`network(*examples.inputs)` gives logits (answers, classes)."""

    @property
    def store(self) -> ImageStore: ...

    @property
    def side(self) -> int:
        """Side of the images that `examples` gets, pixels."""

    @property
    def classes(self) -> int: ...

    @property
    def label_smoothing(self) -> float: ...

    def epoch_order(self, epoch: int) -> Indices:
        """The images of an epoch in their order: the same number in every epoch, two at least."""

    def examples(self, images: Tensor, indices: Indices, step: int) -> Examples:
        """Examples from `images`, uint8 (N, 3, side, side) on the training's device: those at `indices`."""

    def monitor(self, network: nn.Module, precision: Precision) -> dict[str, float]:
        """Metrics measured after an epoch; empty where there is nothing to measure. Draws nothing at random."""
