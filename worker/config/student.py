from typing import Annotated, Self

from pydantic import Field, model_validator

from models.config import Arch, BackboneConfig
from worker.config.base import Auto, DatasetFacts
from worker.config.schedule import TrainingConfig, TrainingSchedule


class StudentConfig(TrainingConfig):
    """What every training of a student from scratch shares (SPEC section 5): the AlexNet, and what it sees."""

    backbone: BackboneConfig = BackboneConfig(arch=Arch.alexnet)
    schedule: TrainingSchedule = TrainingSchedule(epochs=90)
    side: Annotated[int, Field(ge=48)] | Auto = Field(
        "auto", description="images are resized to this square first; auto: the store's side"
    )
    crop: Annotated[int, Field(ge=48)] | Auto = Field(
        "auto", description="random crop in training, centre crop after; auto: 227 of 256"
    )
    flip: bool = True
    min_scale: float = Field(1.0, gt=0, le=1, description="crops show at least this share of the crop's side, enlarged")
    holdout: float = Field(0.05, ge=0, lt=0.5, description="share of images kept to monitor; never trained on")

    @model_validator(mode="after")
    def _is_alexnet(self) -> Self:
        if not self.backbone.is_alexnet:
            raise ValueError("the student is an AlexNet: arch 'alexnet' or 'alexnet-torchvision'")
        return self

    def resolved(self, facts: DatasetFacts) -> Self:
        side = facts.side if self.side == "auto" else self.side
        crop = round(side * 227 / 256) if self.crop == "auto" else self.crop
        return self.model_copy(update={"side": side, "crop": crop})
