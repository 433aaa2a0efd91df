"""What a pretext task is: a batch maker, a network, a loss. One file in this package and one config class each.

A task knows no store, no schedule and no device: images come as tensors and what it draws comes from the generator it
is given, on the CPU, so that a resumed training draws the same and every device sees the same examples.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional

from models.backbone import Backbone
from models.config import BackboneConfig
from models.pixels import ImagenetPixels, Pixels
from worker.data.store import ImageStore
from worker.stages.contract import Context


@dataclass(frozen=True, slots=True)
class Examples:
    """What a batch of images became."""

    inputs: tuple[Tensor, ...]
    """The network's arguments."""
    targets: tuple[Tensor, ...]
    """What the loss compares the network's outputs with; may be empty."""


@dataclass(frozen=True, slots=True)
class Scored:
    """On the device; reading it waits for the device."""

    loss: Tensor
    """() float32, to be minimised."""
    answers: int
    """How many answers the loss is a mean over."""
    correct: Tensor | None = None
    """() int64: how many of them were right; None where an answer isn't simply right or wrong."""


class PretextNetwork(nn.Module):
    """A backbone and what sits on it while it learns."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head


class PretextTask(ABC):
    """Made with fresh weights; the caller has seeded torch's global generator, from which they are drawn."""

    network: PretextNetwork
    chance_loss: float | None = None
    """Loss of an answer that doesn't look; None where that isn't known beforehand. Above it, a training is stuck."""
    chance_accuracy: float | None = None
    pixels: Pixels = ImagenetPixels()
    """How the backbone wants whole images afterwards."""
    crop: int
    """Side of the square input the backbone was made for, pixels."""

    def prepare(self, store: ImageStore, context: Context) -> None:  # noqa: B027 - most tasks need nothing
        """Look at the dataset once before training: priors, warnings. The same store gives the same result."""

    @abstractmethod
    def make(self, images: Tensor, generator: Generator) -> Examples:
        """Examples from uint8 (N, 3, side, side) on any device, on that device."""

    @abstractmethod
    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        """Loss of the network's float32 outputs."""

    @abstractmethod
    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """What the network sees of each of uint8 (N, 3, side, side), and what it is to tell: one picture an image."""

    def facts(self) -> dict[str, Any]:
        """JSON facts for the checkpoint's record and the artifact's summary."""
        return {}

    def head_arguments(self) -> dict[str, Any]:
        """For the checkpoint's record: JSON arguments that the head was made with."""
        return {}

    def trained_backbone(self) -> tuple[BackboneConfig, Backbone]:
        """What is kept of the network; a task that trains something else than a plain backbone assembles it here."""
        return self.network.backbone.config, self.network.backbone

    @property
    def classes(self) -> int:
        """Outputs of a classifying head, 0 for others."""
        return round(1 / self.chance_accuracy) if self.chance_accuracy else 0


def told_apart(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Scored:
    """Cross-entropy of logits (N, classes) against int64 (N,)."""
    loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return Scored(loss=loss, answers=len(labels), correct=(logits.detach().argmax(1) == labels).sum())


def chance_of(classes: int) -> tuple[float, float]:
    """Loss and accuracy of guessing among equally likely classes."""
    return math.log(classes), 1 / classes
