"""The training loop that pretrain and classify share.

All randomness depends on (seed, step) alone, so a training that was stopped and resumed ends with the very weights of
one that was not: bit-equal on a CPU with the same number of threads.
"""

import time
from collections.abc import Iterator
from itertools import tee
from typing import Any, Literal, TypeVar

import torch

from worker.config.reasons import Reason
from worker.config.schedule import TrainingConfig, TrainingSchedule
from worker.data.loader import BatchLoader
from worker.stages.contract import Context, StageError, Stopped
from worker.stages.curves import Curves
from worker.stages.learning_rate import learning_rate
from worker.stages.machine_errors import machine_errors
from worker.stages.measure import affordable_steps
from worker.stages.pace import affordable_total
from worker.stages.precision import Precision, fast_arithmetic, resolved_precision
from worker.stages.resumable import fingerprint, load_state, save_state
from worker.stages.stepper import Stepper
from worker.stages.task import Indices, TrainingTask

C = TypeVar("C", bound=TrainingConfig)

PROGRESS_SECONDS = 1.0


def train(task: TrainingTask, config: C, data: str, device: torch.device, context: Context) -> tuple[dict[str, Any], C]:
    """Train the task's network, in place, by `config.schedule`.

    Returns facts about the training and the config with no `"auto"` left. `data` is the digest of all that is trained
    on: with the config it decides whether an earlier attempt's state fits. Raises `Stopped`, after saving, when asked
    to stop, and `StageError` with diverged, disk_full or out_of_memory.
    """
    cuda = [device] if device.type == "cuda" else []
    with machine_errors("training"), fast_arithmetic(device), torch.random.fork_rng(cuda):
        task.network.to(device).to(memory_format=torch.channels_last)
        asked = fingerprint(config, data)
        state = load_state(context, asked)
        resolved = _resolved(task, config, device, context) if state is None else _restored(config, state)
        context.resolved(resolved)
        budget = _budget(config) if state is None else None
        trainer = Trainer(task, resolved, data, device, context, asked, budget)
        if state is not None:
            trainer.restore(state)
        trainer.fit()
        return trainer.facts(), config.model_copy(update={"schedule": trainer.schedule})


def batch_size(task: TrainingTask, asked: int) -> int:
    """`asked`, or all images where there are fewer: a batch is never incomplete, so batch norm never sees one image."""
    return min(asked, len(task.epoch_order(0)))


def steps_per_epoch(task: TrainingTask, asked_batch: int) -> int:
    """The last, incomplete batch of an epoch is dropped; other images fall into it the next time."""
    return len(task.epoch_order(0)) // batch_size(task, asked_batch)


class Trainer:
    """A training under way: it can be saved at any step, and restored."""

    def __init__(
        self,
        task: TrainingTask,
        config: TrainingConfig,
        data: str,
        device: torch.device,
        context: Context,
        asked: str,
        budget: float | None,
    ) -> None:
        """`asked` is the fingerprint of the config as it came, `budget` the seconds it may take, if that matters."""
        self._task = task
        self._config = config
        self._data = data
        self._device = device
        self._context = context
        self._asked = asked
        self._budget = budget
        self._batch = batch_size(task, config.schedule.batch)
        self._epoch_steps = steps_per_epoch(task, config.schedule.batch)
        self._total = max(1, round(float(config.schedule.epochs) * self._epoch_steps))
        self._precision = _settled(config.schedule.precision)
        self._stepper = Stepper(task, task.network, config.schedule, self._precision, config.seed)
        self._curves = Curves(context, task.chance_loss, task.chance_accuracy, self._total, self._batch, device)
        self._monitored: dict[str, float] = {}
        self._step = 0
        self._earlier_seconds = 0.0
        self._started = self._told = self._saved = time.monotonic()

    @property
    def schedule(self) -> TrainingSchedule:
        """With the epochs that are trained: fewer than planned where the machine became slower."""
        return self._config.schedule

    def fit(self) -> None:
        """Train to the end. Raises `Stopped` and `StageError`."""
        self._tell_progress()
        for_loader, for_step = tee(self._batches())
        with BatchLoader(self._task.store, for_loader, self._task.side, self._device) as loader:
            for images, indices in zip(loader, for_step, strict=True):
                if self._context.should_stop():
                    self.save()
                    raise Stopped
                rate = learning_rate(self._config.schedule, (self._step + 0.5) / self._total)
                scored = self._stepper.step(images, indices, self._step, rate)
                self._step += 1
                self._curves.add(scored)
                self._curves.after_step(self._step, rate, loader.wait_seconds)
                self._monitor()
                self._keep_time()
                if self._step >= self._total:
                    break
        self._require_finite()
        self._tell_progress()

    def save(self) -> None:
        """Raises `StageError` with disk_full, or with diverged rather than keep what is of no use."""
        self._require_finite()
        save_state(
            self._context.workdir,
            {
                "fingerprints": [self._asked, fingerprint(self._config, self._data)],
                "config": self._config.model_dump_json(),
                "step": self._step,
                "seconds": self._seconds(),
                "network": self._task.network.state_dict(),
                "optimizer": self._stepper.optimizer.state_dict(),
                "curves": self._curves.state(),
            },
        )
        self._saved = time.monotonic()

    def restore(self, state: dict[str, Any]) -> None:
        self._step = state["step"]
        self._earlier_seconds = state["seconds"]
        self._task.network.load_state_dict(state["network"])
        self._stepper.optimizer.load_state_dict(state["optimizer"])
        self._curves.restore(state["curves"])
        self._context.log(f"Resumed after step {self._step} of {self._total}.")

    def facts(self) -> dict[str, Any]:
        """For the checkpoint's record and the artifact's summary."""
        loss, accuracy = self._curves.final()
        seconds = self._seconds()
        return {
            "epochs": self._config.schedule.epochs,
            "steps": self._total,
            "batch": self._batch,
            "images_seen": self._total * self._batch,
            "loss": loss,
            "accuracy": None if self._curves.chance_accuracy is None else accuracy,
            "chance_loss": self._curves.chance_loss,
            "chance_accuracy": self._curves.chance_accuracy,
            "precision": self._precision,
            "seconds": seconds,
            "images_per_second": self._total * self._batch / seconds,
            **self._monitored,
        }

    def _batches(self) -> Iterator[Indices]:
        for epoch in range(self._step // self._epoch_steps, -(-self._total // self._epoch_steps)):
            order = self._task.epoch_order(epoch)
            first = epoch * self._epoch_steps
            for step in range(max(self._step, first), min(self._total, first + self._epoch_steps)):
                yield order[(step - first) * self._batch :][: self._batch]

    def _monitor(self) -> None:
        epochs = self._total / self._epoch_steps
        steps_apart = self._epoch_steps * max(1, round(epochs / self._task.looks))
        if self._step % steps_apart and self._step != self._total:
            return
        self._monitored = self._task.monitor(self._task.network, self._precision)
        for name, value in self._monitored.items():
            self._context.metric(name, self._step, value)

    def _keep_time(self) -> None:
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS:
            self._curves.check(self._step)
            self._keep_pace()
            self._tell_progress()
        if now - self._saved >= self._config.schedule.checkpoint_seconds and self._step < self._total:
            self.save()

    def _keep_pace(self) -> None:
        if self._budget is None:
            return
        total = affordable_total(self._step, self._total, self._seconds(), self._budget)
        if total == self._total:
            return
        epochs = total / self._epoch_steps
        self._context.log(f"The machine became slower: {total} steps ({epochs:.1f} epochs) instead of {self._total}.")
        schedule = self._config.schedule.model_copy(update={"epochs": epochs})
        self._config = self._config.model_copy(update={"schedule": schedule})
        self._total = total
        self._curves.shorten(total)
        self._context.resolved(self._config)
        # An earlier state would not fit the config that was just reported.
        self.save()

    def _tell_progress(self) -> None:
        self._context.progress(self._step * self._batch, self._total * self._batch, "images")
        self._told = time.monotonic()

    def _require_finite(self) -> None:
        self._curves.check(self._step)
        if not all(bool(weights.isfinite().all()) for weights in self._task.network.parameters()):
            raise StageError(Reason.diverged, f"The training diverged at step {self._step}: weights are not finite.")

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started


def _resolved(task: TrainingTask, config: C, device: torch.device, context: Context) -> C:
    """`config` with the epochs and the precision this machine was found to afford."""
    schedule = config.schedule
    batch = batch_size(task, schedule.batch)
    if batch < schedule.batch:
        context.log(f"There are only {batch} images to train on: the batch shrinks from {schedule.batch} to them.")
    precision = resolved_precision(schedule.precision, device)
    schedule = schedule.model_copy(update={"precision": precision})
    if schedule.epochs == "auto":
        steps = affordable_steps(task, schedule, precision, config.seed, batch, context)
        epochs = steps / steps_per_epoch(task, schedule.batch)
        context.log(f"{steps} steps ({epochs:.1f} epochs) are estimated to fit into {schedule.minutes:g} minutes.")
        schedule = schedule.model_copy(update={"epochs": epochs})
    return config.model_copy(update={"schedule": schedule})


def _budget(config: TrainingConfig) -> float | None:
    """Seconds; None where the epochs were asked for, and are trained however long they take."""
    schedule = config.schedule
    return schedule.minutes * 60 if schedule.epochs == "auto" and schedule.minutes is not None else None


def _restored(config: C, state: dict[str, Any]) -> C:
    """What the first attempt resolved, on whatever machine it ran; how often to save may have changed since."""
    stored = type(config).model_validate_json(state["config"])
    every = {"checkpoint_seconds": config.schedule.checkpoint_seconds}
    return stored.model_copy(update={"schedule": stored.schedule.model_copy(update=every)})


def _settled(precision: Precision | Literal["auto"]) -> Precision:
    assert precision != "auto"  # resolved before a trainer is made
    return precision
