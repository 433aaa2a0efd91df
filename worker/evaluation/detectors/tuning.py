"""Fine-tuning a detector: SGD over batches of training images, saved so that a later attempt goes on."""

import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detectors.detector import Detector
from worker.evaluation.journal import Journal
from worker.evaluation.loss_curves import LossCurves
from worker.evaluation.pulse import Pulse
from worker.stages.randomness import derived_seed, torch_generator

MOMENTUM = 0.9
THIRDS, FALL = 3, 0.1
"""The rate falls to a tenth after each third of the training (SPEC 8.2)."""
MOST_NORM = 10.0
"""Gradients of a larger norm are scaled down to it, so that new layers on maps of any scale start smoothly (our
choice)."""
NAME = "the detector"


class Tuning:
    """The training of one detector by one seed."""

    def __init__(self, detector: Detector, images: int, protocol: VocDetectionProtocol, seed: int) -> None:
        """`images` is the number of training scenes the detector knows."""
        self.step = 0
        self.seconds = 0.0
        self._curves = LossCurves({NAME: f"loss_{seed}"}, protocol.iterations)
        self._detector = detector
        self._images = images
        self._protocol = protocol
        self._seed = seed
        self._batch = min(protocol.batch, images)
        self._optimizer = _optimizer(detector.network, protocol)

    @property
    def loss(self) -> float:
        """Mean over the last fiftieth of the training."""
        return self._curves.last.get(NAME, math.nan)

    def state(self) -> dict[str, Any]:
        """Raises `StageError(diverged)`."""
        self._curves.check(self.step)
        return {
            "step": self.step,
            "seconds": self.seconds,
            "curves": self._curves.state(),
            "network": self._detector.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self._curves.restore(state["curves"])
        self._detector.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])

    def fit(self, pulse: Pulse, journal: Journal) -> None:
        """Train to the end. Raises `Stopped`, and `StageError(diverged)` for a loss that is no number."""
        mark = time.monotonic()
        self._detector.network.train()
        for images in self._batches():
            self._curves.add(NAME, self._take(images))
            self._curves.after_step(self.step, pulse.context)
            self.seconds += time.monotonic() - mark
            pulse.beat()
            journal.keep_time()
            mark = time.monotonic()
        self._curves.check(self.step)
        self.seconds += time.monotonic() - mark

    def advance(self, steps: int) -> None:
        """Take at most so many steps, and tell nobody: for measuring."""
        for images in islice(self._batches(), steps):
            self._take(images)

    @property
    def images_per_second(self) -> float:
        return self.step * self._batch / self.seconds if self.seconds else math.nan

    def _take(self, images: list[int]) -> Tensor:
        """One step; the loss, () on the device."""
        # Dropout, and what torchvision samples, draw from the global generators: seeded anew by the step alone.
        torch.manual_seed(derived_seed(self._seed, "dropout", self.step))
        losses = self._detector.losses(images, torch_generator(self._seed, "samples", self.step))
        loss = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(_learning(self._detector.network), MOST_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = self._protocol.lr * FALL ** (THIRDS * self.step // self._protocol.iterations)
        self._optimizer.step()
        self.step += 1
        return loss.detach()

    def _batches(self) -> Iterator[list[int]]:
        """Every epoch in an order of its own; the incomplete last batch is dropped."""
        each = self._images // self._batch
        order, epoch = torch.empty(0, dtype=torch.int64), -1
        for step in range(self.step, self._protocol.iterations):
            if step // each != epoch:
                epoch = step // each
                order = torch.randperm(self._images, generator=torch_generator(self._seed, "order", epoch))
            yield order[step % each * self._batch :][: self._batch].tolist()


def _learning(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _optimizer(network: nn.Module, protocol: VocDetectionProtocol) -> torch.optim.SGD:
    """Weights decay, biases don't."""
    weights = [parameter for parameter in _learning(network) if parameter.ndim > 1]
    others = [parameter for parameter in _learning(network) if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": protocol.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=protocol.lr, momentum=MOMENTUM, fused=weights[0].device.type in ("cpu", "cuda"))
