"""How many steps fit into the minutes that were given: measured on a throwaway copy, which leaves no trace."""

import copy
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch

from worker.config.schedule import TrainingSchedule
from worker.data.loader import BatchLoader
from worker.stages.contract import Context, Stopped
from worker.stages.precision import Precision
from worker.stages.stepper import Stepper
from worker.stages.task import TrainingTask

WARM_UP_STEPS = 3
TIMED_STEPS = 200
GPU_BLOCK = 10
"""Steps between two waits for a GPU. Waiting for each would keep the host from preparing the next one meanwhile, and
make steps look twice as slow as they are in a training."""
MEASURING_SHARE = 0.04
"""Measuring stops once it has taken this share of the minutes (and one step was timed): seconds of other load on the
machine then don't decide over the whole training."""
USABLE = 0.97
"""The share of what is left that steps may fill: checkpoints and monitoring need the rest."""
FEWEST_STEPS = 10


def affordable_steps(
    task: TrainingTask, schedule: TrainingSchedule, precision: Precision, seed: int, batch: int, context: Context
) -> int:
    """Steps that fit into `schedule.minutes` from now on, `FEWEST_STEPS` at least. Raises `Stopped` when asked to."""
    assert schedule.minutes is not None  # the schedule's validator holds it
    started = time.monotonic()
    budget = schedule.minutes * 60
    stepper = Stepper(task, copy.deepcopy(task.network), schedule, precision, seed)
    seconds: list[float] = []
    for taken in _timed_steps(task, stepper, batch, context):
        seconds.append(taken)
        if time.monotonic() - started > MEASURING_SHARE * budget and len(seconds) > WARM_UP_STEPS:
            break
    each = statistics.median(seconds[WARM_UP_STEPS:])
    left = budget - (time.monotonic() - started)
    return max(FEWEST_STEPS, int(USABLE * left / each))


def _timed_steps(task: TrainingTask, stepper: Stepper, batch: int, context: Context) -> Iterator[float]:
    """Seconds a step: of each one, or on a GPU of each block of them."""
    order = task.epoch_order(0)
    device = next(stepper.network.parameters()).device
    chosen = [np.resize(np.roll(order, -batch * n), batch) for n in range(WARM_UP_STEPS + TIMED_STEPS)]
    with BatchLoader(task.store, chosen, task.side, device) as loader:
        block = GPU_BLOCK if device.type == "cuda" else 1
        started = time.monotonic()
        for step, indices in enumerate(chosen):
            if context.should_stop():
                raise Stopped
            stepper.step(next(loader), indices, step, rate=0.0)
            if (step + 1) % block:
                continue
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            now = time.monotonic()
            yield (now - started) / block
            started = now
