"""Losses of trainings side by side, told as means of many steps."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from worker.config.reasons import Reason
from worker.stages.contract import Context, StageError

POINTS = 50
"""Of a curve."""


class LossCurves:
    """Losses are summed on the device, so that no step waits for it; the sums go into a training's state."""

    def __init__(self, metrics: Mapping[str, str], steps: int) -> None:
        """`metrics`: what learns -> the metric that follows its loss, over a training of so many `steps`."""
        self.last: dict[str, float] = {}
        """What learns -> its mean loss when it was told last; nothing before."""
        self._metrics = metrics
        self._every = max(1, steps // POINTS)
        self._sums: dict[str, Tensor | float] = {}
        self._count = 0
        self._forget()

    def add(self, name: str, loss: Tensor) -> None:
        """The loss of one step, () on the device."""
        self._sums[name] = self._sums[name] + loss

    def after_step(self, step: int, context: Context) -> None:
        """`step` steps are done. After each fiftieth of all, tells the means since the one before.

        Raises `StageError(diverged)` for a loss that is no number.
        """
        self._count += 1
        if step % self._every:
            return
        self.last = self.check(step)
        for name, loss in self.last.items():
            context.metric(self._metrics[name], step, loss)
        self._forget()

    def check(self, step: int) -> dict[str, float]:
        """The means since they were told last. Raises `StageError(diverged)`."""
        means = {name: float(total) / max(1, self._count) for name, total in self._sums.items()}
        for name, loss in means.items():
            if not math.isfinite(loss):
                message = (
                    f"Training {name} diverged at step {step}: its loss is no number. A lower learning rate may help."
                )
                raise StageError(Reason.diverged, message)
        return means

    def state(self) -> dict[str, Any]:
        return {"last": self.last, "sums": self._sums, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.last, self._sums, self._count = state["last"], state["sums"], state["count"]

    def _forget(self) -> None:
        self._sums = dict.fromkeys(self._metrics, 0.0)
        self._count = 0
