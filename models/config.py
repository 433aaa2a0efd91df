"""Which network, how wide, with which normalisation. Free of torch: requests carry this config."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Arch(StrEnum):
    alexnet = "alexnet"
    """96/256/384/384/256 with groups on conv2, conv4, conv5: the variant of the paper's networks (SPEC section 5)."""
    alexnet_torchvision = "alexnet-torchvision"
    """64/192/384/256/256 without groups: what `torchvision.models.alexnet` is."""
    vgg16 = "vgg16"


class BackboneConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Arch
    width: float = Field(1.0, ge=0.125, le=1.0, description="channel multiplier; 1 is the published network")
    norm: Literal["none", "batch", "lrn"] = Field(
        "batch", description="batch norm is folded into the convolutions on export; lrn only for `alexnet` (CaffeNet)"
    )
    conv1_stride: Literal[2, 4] = Field(4, description="AlexNet only; 2 suits tiles and small images")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.norm == "lrn" and self.arch is not Arch.alexnet:
            raise ValueError("norm 'lrn' exists for arch 'alexnet' only")
        return self

    @property
    def is_alexnet(self) -> bool:
        return self.arch is not Arch.vgg16
