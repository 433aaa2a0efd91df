"""Fine-tuning a detector: SGD over batches of training images, saved so that a later attempt goes on."""

import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from worker.config.reasons import Reason
from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detectors.detector import Detector
from worker.stages.contract import Context, StageError, Stopped
from worker.stages.randomness import derived_seed, torch_generator

MOMENTUM = 0.9
THIRDS, FALL = 3, 0.1
"""The rate falls to a tenth after each third of the training (SPEC 8.2)."""
MOST_NORM = 10.0
"""Gradients of a larger norm are scaled down to it, so that new layers on maps of any scale start smoothly (our
choice)."""
POINTS = 50
"""Of a loss curve."""
SAVE_SECONDS, TELL_SECONDS = 60.0, 1.0


class Course:
    """How far the whole evaluation is."""

    def __init__(self, context: Context, total: int) -> None:
        self.context = context
        self._total = total
        self._done = 0
        self._told = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Raises `Stopped` when asked to stop."""
        self._done += steps
        if time.monotonic() - self._told >= TELL_SECONDS or self._done >= self._total:
            self._told = time.monotonic()
            self.context.progress(self._done, self._total, "steps")
        if self.context.should_stop():
            raise Stopped


class Tuning:
    """The training of one detector by one seed."""

    def __init__(self, detector: Detector, images: int, protocol: VocDetectionProtocol, seed: int) -> None:
        """`images` is the number of training scenes the detector knows."""
        self.step = 0
        self.seconds = 0.0
        self.loss = math.nan
        """Mean over the last fiftieth of the training."""
        self._detector = detector
        self._images = images
        self._protocol = protocol
        self._seed = seed
        self._batch = min(protocol.batch, images)
        self._optimizer = _optimizer(detector.network, protocol)

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "network": self._detector.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds, self.loss = state["step"], state["seconds"], state["loss"]
        self._detector.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])

    def fit(self, course: Course, save: Callable[[], None]) -> None:
        """Train to the end; `save` is called every minute, and before `Stopped` is raised.

        Raises `StageError(diverged)` for a loss that is no number.
        """
        total = self._protocol.iterations
        every = max(1, total // POINTS)
        curve = _Curve(f"loss_{self._seed}", course.context)
        saved = mark = time.monotonic()
        self._detector.network.train()
        for images in self._batches():
            curve.add(self._take(images))
            if self.step % every == 0 or self.step == total:
                self.loss = curve.tell(self.step)
            now = time.monotonic()
            self.seconds, mark = self.seconds + now - mark, now
            try:
                course.advance()
            except Stopped:
                curve.check(self.step)
                save()
                raise
            if now - saved >= SAVE_SECONDS:
                curve.check(self.step)
                save()
                saved = mark = time.monotonic()

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


class _Curve:
    """Sums losses on the device, so that no step waits for it."""

    def __init__(self, name: str, context: Context) -> None:
        self._name = name
        self._context = context
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, loss: Tensor) -> None:
        self._sum = loss if self._sum is None else self._sum + loss
        self._count += 1

    def tell(self, step: int) -> float:
        """The mean since it was told last."""
        mean = self.check(step)
        self._context.metric(self._name, step, mean)
        self._sum, self._count = None, 0
        return mean

    def check(self, step: int) -> float:
        mean = float(self._sum) / self._count if self._sum is not None else 0.0
        if not math.isfinite(mean):
            message = f"The detector diverged by step {step}: its loss is no number. A lower learning rate may help."
            raise StageError(Reason.diverged, message)
        return mean


def _learning(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _optimizer(network: nn.Module, protocol: VocDetectionProtocol) -> torch.optim.SGD:
    """Weights decay, biases don't."""
    weights = [parameter for parameter in _learning(network) if parameter.ndim > 1]
    others = [parameter for parameter in _learning(network) if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": protocol.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=protocol.lr, momentum=MOMENTUM, fused=weights[0].device.type in ("cpu", "cuda"))
