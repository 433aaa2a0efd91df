from typing import Literal, Self

from pydantic import Field, model_validator

from worker.config.student import StudentConfig


class RegressConfig(StudentConfig):
    """Feature distillation: the student regresses the teacher's maps, "[37]" (SPEC 7.3, the details are its [I])."""

    taps: tuple[Literal["conv1", "conv2", "conv3", "conv4", "conv5"], ...] = Field(("conv4", "conv5"), min_length=1)

    @model_validator(mode="after")
    def _taps_differ(self) -> Self:
        if len(set(self.taps)) != len(self.taps):
            raise ValueError("each tap is named once")
        return self
