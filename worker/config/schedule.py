"""How long and how fast to train."""

from typing import Literal, Self

from pydantic import Field, model_validator

from worker.config.base import Auto, Config, StageConfig


class TrainingSchedule(Config):
    """SGD with momentum, or Adam. The rate falls by `gamma` at each milestone (`step`), or along a half cosine."""

    epochs: float | Auto = Field("auto", description="passes over the images; auto: what fits into `minutes`")
    minutes: float | None = Field(None, gt=0, description="wall-clock budget that an auto `epochs` is measured for")
    batch: int = Field(256, ge=2, description="images per step")
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="for Adam, its first beta")
    beta2: float = Field(0.999, gt=0, lt=1, description="Adam's second beta")
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)
    shape: Literal["step", "cosine"] = "step"
    milestones: tuple[float, ...] = Field((0.4, 0.7, 0.9), description="shares of the training, for `step`")
    gamma: float = Field(0.1, gt=0, le=1)
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the training in which the rate rises linearly")
    precision: Literal["fp32", "bf16"] | Auto = Field(
        "auto", description="auto: bf16 where the device computes it fast"
    )
    checkpoint_seconds: float = Field(60, gt=0, description="time between resumable checkpoints; no effect on results")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.epochs == "auto" and self.minutes is None:
            raise ValueError("epochs 'auto' needs `minutes`")
        if self.epochs != "auto" and self.epochs <= 0:
            raise ValueError("epochs must be positive")
        if any(not 0 < share < 1 for share in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError("milestones are rising shares between 0 and 1")
        return self


class TrainingConfig(StageConfig):
    """A stage that trains."""

    schedule: TrainingSchedule
    seed: int = 0
