"""Stages that stand in for the pretext task: an untrained network, hand-made descriptors, the dataset's labels."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.config import Arch, BackboneConfig
from worker.config.base import Auto, DatasetFacts, StageConfig


class InitialiseConfig(StageConfig):
    """An untrained network as a checkpoint: the `Random` rows."""

    backbone: BackboneConfig = BackboneConfig(arch=Arch.alexnet)
    crop: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="input it stands for; auto: 227 of 256")
    calibrate: bool = Field(False, description="estimate batch norm statistics on images: the harder baseline")
    seed: int = 0

    @model_validator(mode="after")
    def _calibrates_batch_norm(self) -> Self:
        if self.calibrate and self.backbone.norm != "batch":
            raise ValueError("`calibrate` estimates batch norm statistics: the backbone needs norm 'batch'")
        return self

    def resolved(self, facts: DatasetFacts) -> "InitialiseConfig":
        return self.model_copy(update={"crop": round(facts.side * 227 / 256) if self.crop == "auto" else self.crop})


class HogConfig(StageConfig):
    """Bag of words of histograms of oriented gradients (SPEC 7.1, the defaults there are its [I])."""

    side: Annotated[int, Field(ge=32)] | Auto = Field(
        "auto", description="images are resized to this square first; auto: the store's side"
    )
    crop: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="centre crop; auto: 224 of 256")
    cell: int = Field(8, ge=2, description="pixels")
    block: int = Field(2, ge=1, description="cells a side")
    orientations: int = Field(9, ge=2)
    words: int = Field(1000, ge=2, description="size of the codebook")
    sample: int = Field(500_000, ge=1000, description="blocks the codebook is learnt from")
    iterations: int = Field(20, ge=1, description="of k-means, for the codebook")
    pyramid: tuple[int, ...] = Field((1, 2), min_length=1, description="histograms over 1x1, 2x2, ... parts")
    dtype: Literal["fp16", "fp32"] = "fp16"
    batch: int = Field(128, ge=1, description="images described at a time")
    seed: int = 0

    @model_validator(mode="after")
    def _has_parts(self) -> Self:
        if min(self.pyramid) < 1 or len(set(self.pyramid)) != len(self.pyramid):
            raise ValueError("a pyramid's levels are different numbers of parts a side, from 1 on")
        return self

    def resolved(self, facts: DatasetFacts) -> "HogConfig":
        side = facts.side if self.side == "auto" else self.side
        crop = round(side * 224 / 256) if self.crop == "auto" else self.crop
        return self.model_copy(update={"side": side, "crop": crop})


class ClassLabelsConfig(StageConfig):
    """The dataset's own labels as a label set: supervised training."""

    holdout: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of the labelled images, by the md5 of their path, whose labels aren't taught: the ones that "
        "evaluations judge on by default",
    )
