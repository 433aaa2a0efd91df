"""What a training tells while it runs: curves of at most about 200 points, a readable line now and then, alarms."""

import math
import time
from typing import Any

import torch

from worker.config.reasons import Reason
from worker.pretext.task import Scored
from worker.stages.contract import Context, StageError

POINTS = 200
LINES = 20
FINAL_SHARE = 0.05
"""The final loss and accuracy are means over this last share of the training."""
STUCK = 0.98
"""A loss above this share of chance is no better than guessing."""
WORSE = 1.1
"""A loss above this multiple of chance is worse than guessing: the steps are too large."""
START_LEARNING = (
    "What usually helps: batch norm in the backbone and the head (`norm: batch`), a higher `schedule.lr`, fewer "
    "classes (`permutations`, or `k`), a longer training."
)
LOWER_RATE = "What usually helps: a lower `schedule.lr`, a longer `schedule.warmup`."
STUCK_LOOKS = (0.25, 0.5, 1.0)
"""Shares of the training after which a loss at chance is remarked on."""
STUCK_STEPS = 100
"""Before that many steps a loss at chance is no news."""


class Curves:
    """Sums up the steps' losses and reports their means every `interval` steps."""

    def __init__(
        self,
        context: Context,
        chance_loss: float | None,
        chance_accuracy: float | None,
        total: int,
        batch: int,
        device: torch.device,
    ) -> None:
        self.chance_loss = chance_loss
        self.chance_accuracy = chance_accuracy
        self.interval = math.ceil(total / POINTS)
        self.points: list[tuple[float, float]] = []
        """(loss, accuracy) of every interval so far; accuracy 0 where answers aren't right or wrong."""
        self._context = context
        self._total = total
        self._batch = batch
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._answers = 0
        self._steps = 0
        self._clock = _IntervalClock()

    def state(self) -> dict[str, Any]:
        return {"points": self.points, "sums": self._sums.cpu(), "answers": self._answers, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        self.points = [(loss, accuracy) for loss, accuracy in state["points"]]
        self._sums.copy_(state["sums"])
        self._answers = state["answers"]
        self._steps = state["steps"]

    def shorten(self, total: int) -> None:
        """The training will have only so many steps; the points keep their distance."""
        self._total = total

    def add(self, scored: Scored) -> None:
        """One step's mean loss and count of correct answers; nothing waits for the device."""
        self._sums[0] += scored.loss
        if scored.correct is not None:
            self._sums[1] += scored.correct
        self._answers += scored.answers
        self._steps += 1
        self._clock.steps += 1

    def check(self, step: int) -> None:
        """Raises `StageError(diverged)` if a loss since the last report was no finite number."""
        if not math.isfinite(float(self._sums[0])):
            raise StageError(
                Reason.diverged,
                f"The training diverged by step {step}: the loss is no finite number. A lower `schedule.lr` or a "
                "longer `schedule.warmup` helps.",
            )

    def after_step(self, step: int, rate: float, seconds_waited: float) -> None:
        """To be called after each step, `step` of them being done; reports at the end of an interval.

        `seconds_waited` is how long the training has waited for data since it was started or resumed.
        """
        if step % self.interval and step != self._total:
            return
        self.check(step)
        loss, correct = self._sums.tolist()
        self.points.append((loss / self._steps, correct / self._answers))
        self._sums.zero_()
        self._steps = self._answers = 0
        speed, waiting = self._clock.lap(self._batch, seconds_waited)
        self._report(step, {"learning_rate": rate, "images_per_second": speed, "data_wait_share": waiting})
        self._remark(step)

    def final(self) -> tuple[float, float]:
        """Mean loss and accuracy over the last twentieth of the training."""
        return self._recent(math.ceil(len(self.points) * FINAL_SHARE))

    def _recent(self, points: int) -> tuple[float, float]:
        losses, accuracies = zip(*self.points[-points:], strict=True)
        return sum(losses) / len(losses), sum(accuracies) / len(accuracies)

    def _report(self, step: int, values: dict[str, float]) -> None:
        loss, accuracy = self.points[-1]
        told = {"loss": loss} | ({} if self.chance_accuracy is None else {"accuracy": accuracy}) | values
        for name, value in told.items():
            self._context.metric(name, step, value)
        lines_apart = math.ceil(self._total / self.interval / LINES)
        if len(self.points) % lines_apart == 1 or lines_apart == 1 or step == self._total:
            self._context.log(
                f"Step {step}/{self._total}: {self._against_chance(loss, accuracy)}, "
                f"{values['images_per_second']:.0f} images/s, "
                f"{values['data_wait_share']:.0%} of the time waiting for data."
            )

    def _against_chance(self, loss: float, accuracy: float) -> str:
        told = f"loss {loss:.3f}" if self.chance_loss is None else f"loss {loss:.3f} (chance {self.chance_loss:.3f})"
        if self.chance_accuracy is None:
            return told
        return f"{told}, accuracy {accuracy:.1%} (chance {self.chance_accuracy:.1%})"

    def _remark(self, step: int) -> None:
        """A warning where the training is a quarter, a half, or wholly done and its loss still at chance."""
        before = (step - 1) // self.interval * self.interval
        looked_at = any(before < share * self._total <= step for share in STUCK_LOOKS)
        if self.chance_loss is None or not looked_at or step < STUCK_STEPS:
            return
        loss, _ = self._recent(math.ceil(len(self.points) / 10))
        if loss >= STUCK * self.chance_loss:
            advice = LOWER_RATE if loss > WORSE * self.chance_loss else START_LEARNING
            self._context.log(
                f"Stuck at chance: after {step / self._total:.0%} of the training the loss is {loss:.3f}, no better "
                f"than guessing ({self.chance_loss:.3f}). {advice}",
                "warning",
            )


class _IntervalClock:
    def __init__(self) -> None:
        self.steps = 0
        self._since = time.monotonic()
        self._waited = 0.0

    def lap(self, batch: int, waited: float) -> tuple[float, float]:
        """Images per second, and the share of the time spent waiting for data, since the last lap."""
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        speed, share = self.steps * batch / seconds, (waited - self._waited) / seconds
        self.steps, self._since, self._waited = 0, now, waited
        return speed, share
