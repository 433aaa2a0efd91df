from typing import Literal

from pydantic import Field

from models.config import BackboneConfig
from worker.config.base import StageConfig

Format = Literal["safetensors", "torchvision", "onnx", "pt2"]


class ExportConfig(StageConfig):
    """The distilled AlexNet, batch norm folded in, in the formats people load."""

    formats: tuple[Format, ...] = Field(
        ("safetensors", "torchvision", "onnx", "pt2"),
        description="torchvision is made only where the student is `alexnet-torchvision` at width 1",
    )
    opset: int = Field(18, ge=18)


class ImportWeightsConfig(StageConfig):
    """The user's own teacher: safetensors, or a state_dict that loads with `weights_only=True`.

    Keys are those of torchvision or timm; a classifier's are left out.
    """

    backbone: BackboneConfig = Field(
        description="also a convolutional network of a library: `torchvision:<name>`, `timm:<name>`"
    )
    crop: int = Field(224, ge=32, description="input side the network was made for, pixels")
    prefix: str = Field("", description="removed from every key first, e.g. `module.`")
    allow_unused: bool = Field(False, description="keys of the file that fit no layer are listed, not refused")
    input_std: Literal["image", "imagenet"] = Field(
        "imagenet", description="how it wants its pixels: standardised per image, or by ImageNet's mean and std"
    )
