"""What the training loop asks of the thing to be learnt."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.data.store import ImageStore
from worker.pretext.task import Examples, Scored
from worker.stages.precision import Precision

Indices = NDArray[np.int64]


class TrainingTask(Protocol):
    """All but the network is free of state: the same arguments give the same order and the same examples."""

    @property
    def network(self) -> nn.Module:
        """`network(*examples.inputs)` gives a tensor or a tuple of tensors."""

    @property
    def store(self) -> ImageStore: ...

    @property
    def side(self) -> int:
        """Side of the images that `examples` gets, pixels."""

    @property
    def chance_loss(self) -> float | None:
        """Loss of an answer that doesn't look, None where that isn't known; at it a training is stuck."""

    @property
    def chance_accuracy(self) -> float | None: ...

    @property
    def looks(self) -> int:
        """How many times over the training `monitor` is called, evenly spread: at its end in any case."""

    def epoch_order(self, epoch: int) -> Indices:
        """The images of an epoch in their order: the same number in every epoch, two at least."""

    def examples(self, images: Tensor, indices: Indices, step: int) -> Examples:
        """Examples from `images`, uint8 (N, 3, side, side) on the training's device: those at `indices`."""

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        """Loss of the network's float32 outputs."""

    def monitor(self, network: nn.Module, precision: Precision) -> dict[str, float]:
        """Metrics measured after an epoch; empty where there is nothing to measure. Draws nothing at random."""
