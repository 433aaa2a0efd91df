"""Stages that stand in for the pretext task: an untrained network, hand-made descriptors, the dataset's labels."""

from typing import Annotated

from pydantic import Field

from models.config import Arch, BackboneConfig
from worker.config.base import Auto, DatasetFacts, StageConfig


class InitialiseConfig(StageConfig):
    """An untrained network as a checkpoint: the `Random` rows."""

    backbone: BackboneConfig = BackboneConfig(arch=Arch.alexnet)
    crop: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="input it stands for; auto: 227 of 256")
    calibrate: bool = Field(False, description="estimate batch norm statistics on images: the harder baseline")
    seed: int = 0

    def resolved(self, facts: DatasetFacts) -> "InitialiseConfig":
        return self.model_copy(update={"crop": round(facts.side * 227 / 256) if self.crop == "auto" else self.crop})


class HogConfig(StageConfig):
    """Bag of words of histograms of oriented gradients (SPEC 7.1, the defaults there are its [I])."""

    side: Annotated[int, Field(ge=32)] | Auto = "auto"
    crop: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="centre crop; auto: 224 of 256")
    cell: int = Field(8, ge=2, description="pixels")
    block: int = Field(2, ge=1, description="cells a side")
    orientations: int = Field(9, ge=2)
    words: int = Field(1000, ge=2, description="size of the codebook")
    sample: int = Field(500_000, ge=1000, description="blocks the codebook is learnt from")
    pyramid: tuple[int, ...] = Field((1, 2), min_length=1, description="histograms over 1x1, 2x2, ... parts")
    seed: int = 0

    def resolved(self, facts: DatasetFacts) -> "HogConfig":
        side = facts.side if self.side == "auto" else self.side
        crop = round(side * 224 / 256) if self.crop == "auto" else self.crop
        return self.model_copy(update={"side": side, "crop": crop})


class ClassLabelsConfig(StageConfig):
    """The dataset's own labels as a label set: supervised training."""
