"""The learning rate as a pure function of how far the training is."""

import math

from worker.config.schedule import TrainingSchedule


def learning_rate(schedule: TrainingSchedule, progress: float) -> float:
    """The rate at the share `progress`, 0..1, of the training.

    It rises linearly from 0 over `warmup`; then it falls by `gamma` at each milestone (shares of the whole training),
    or along a half cosine from the end of the warm-up to 0.
    """
    if progress < schedule.warmup:
        return schedule.lr * progress / schedule.warmup
    if schedule.shape == "cosine":
        along = (progress - schedule.warmup) / (1 - schedule.warmup)
        return schedule.lr * (1 + math.cos(math.pi * along)) / 2
    passed = sum(progress >= milestone for milestone in schedule.milestones)
    return schedule.lr * schedule.gamma**passed
