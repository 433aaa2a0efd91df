"""Training learners for an evaluation, by batches that all of them see."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.evaluation.image_cache import Rows
from worker.evaluation.journal import Journal
from worker.evaluation.learner import Learner
from worker.evaluation.loss_curves import LossCurves
from worker.evaluation.pulse import Pulse
from worker.stages.randomness import numpy_generator


@dataclass(frozen=True)
class Batch:
    """What a step learns from."""

    inputs: Mapping[str, Tensor]
    """Learner -> its input."""
    loss: Callable[[Tensor], Tensor]
    """float32 logits -> ()."""


@dataclass(frozen=True)
class CrossEntropy:
    labels: Tensor
    """(N,) int64."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (N, classes) -> ()."""
        return functional.cross_entropy(logits, self.labels)


class Training:
    """Learners side by side that see the same batches: what a `Journal` saves and restores."""

    def __init__(self, learners: Mapping[str, Learner], steps: int, curve: str) -> None:
        self.step = 0
        self.seconds = 0.0
        """Spent on steps, in earlier attempts too."""
        self._learners = learners
        self._steps = steps
        self._curves = LossCurves({name: f"{curve}_{name}" for name in learners}, steps)

    @property
    def losses(self) -> dict[str, float]:
        """Each learner's mean loss over the last fiftieth of the steps."""
        return self._curves.last

    def state(self) -> dict[str, Any]:
        """Raises `StageError(diverged)`."""
        self._curves.check(self.step)
        return {
            "step": self.step,
            "seconds": self.seconds,
            "curves": self._curves.state(),
            "learners": {name: learner.state() for name, learner in self._learners.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self._curves.restore(state["curves"])
        for name, learner in self._learners.items():
            learner.restore(state["learners"][name])

    def run(self, batches: Iterator[Batch], pulse: Pulse, journal: Journal) -> None:
        """To the end, by batches of the steps that are left. Raises `Stopped` and `StageError(diverged)`."""
        for learner in self._learners.values():
            learner.training_mode()
        mark = time.monotonic()
        for _, batch in zip(range(self.step, self._steps), batches, strict=False):
            for name, learner in self._learners.items():
                self._curves.add(name, learner.step(batch.inputs[name], batch.loss, self.step, self.step / self._steps))
            self.step += 1
            self._curves.after_step(self.step, pulse.context)
            self.seconds += time.monotonic() - mark
            pulse.beat()
            journal.keep_time()
            mark = time.monotonic()
        self._curves.check(self.step)
        self.seconds += time.monotonic() - mark


def fit(
    learners: Mapping[str, Learner],
    batches: Callable[[int], Iterator[Batch]],
    steps: int,
    pulse: Pulse,
    journal: Journal,
    curve: str,
) -> Training:
    """Trains every learner for `steps` on its inputs of each batch, or for those that an earlier attempt left;
    `batches(first)` are those from step `first` on. The metric `<curve>_<learner>` follows the loss, and `curve` names
    the training in the journal.

    Raises `Stopped`, and `StageError(diverged)` for a loss that is no number.
    """
    training = Training(learners, steps, curve)
    journal.begin(curve, training, steps, pulse)
    training.run(batches(training.step), pulse, journal)
    return training


def training_rows(count: int, batch: int, steps: int, seed: int) -> Iterator[Rows]:
    """`steps` arrays of `batch` rows out of 0 .. count - 1, at most all: every epoch in an order of its own, drawn by
    (seed, epoch), its incomplete last batch dropped."""
    batch = min(batch, count)
    each = count // batch
    for epoch in range(math.ceil(steps / each)):
        order = numpy_generator(seed, "epoch", epoch).permutation(count)
        for step in range(min(each, steps - epoch * each)):
            yield order[step * batch : (step + 1) * batch]


def own_randomness(device: torch.device) -> AbstractContextManager[None]:
    """Torch's global generators, which new layers and dropout draw from, are afterwards as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
