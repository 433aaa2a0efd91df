"""Which network, how wide, with which normalisation. Free of torch: requests carry this config."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator


class Arch(StrEnum):
    alexnet = "alexnet"
    """96/256/384/384/256 with groups on conv2, conv4, conv5: the variant of the paper's networks (SPEC section 5)."""
    alexnet_torchvision = "alexnet-torchvision"
    """64/192/384/256/256 without groups: what `torchvision.models.alexnet` is."""
    vgg16 = "vgg16"


LibraryArch = Annotated[str, StringConstraints(pattern=r"^(torchvision|timm):[A-Za-z0-9_.]+$")]
"""A network of a library by its name there: `torchvision:resnet18`, `timm:resnet18`."""


class BackboneConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Arch | LibraryArch
    width: float = Field(1.0, ge=0.125, le=1.0, description="channel multiplier; 1 is the published network")
    norm: Literal["none", "batch", "lrn"] = Field(
        "batch", description="batch norm is folded into the convolutions on export; lrn only for `alexnet` (CaffeNet)"
    )
    conv1_stride: Literal[2, 4] = Field(4, description="AlexNet only; 2 suits tiles and small images")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.norm == "lrn" and self.arch is not Arch.alexnet:
            raise ValueError("norm 'lrn' exists for arch 'alexnet' only")
        if self.library and (self.width, self.norm, self.conv1_stride) != (1.0, "batch", 4):
            raise ValueError(f"width, norm and conv1_stride are not for {self.arch}, which is taken as it is")
        return self

    @property
    def is_alexnet(self) -> bool:
        return self.arch in (Arch.alexnet, Arch.alexnet_torchvision)

    @property
    def library(self) -> str | None:
        """Whose network it is: `torchvision`, `timm`; None for AlexNets and VGG16, which are built here."""
        return None if isinstance(self.arch, Arch) else self.arch.partition(":")[0]

    @property
    def told(self) -> str:
        """In words."""
        return str(self.arch) if self.library else f"{self.arch}, width {self.width:g}, norm {self.norm}"
