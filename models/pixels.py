"""How a network wants its pixels; written into its checkpoint."""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from models.lab import lightness, rgb_to_lab

FLATTEST = 1e-2
"""An image whose values vary less than this (in 0..255) becomes 0 rather than amplified rounding noise."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImagePixels(BaseModel):
    """Each image (or tile) standardised over all its values, as the puzzles' tiles are (SPEC 3.2)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["image"] = "image"
    std: float = Field(1.0, gt=0, description="standard deviation after normalisation")

    def apply(self, images: Tensor) -> Tensor:
        """uint8, or float in 0..255, (N, 3, h, w) -> float32 with mean 0 and standard deviation `std` per image."""
        values = images.float()
        deviation, mean = torch.std_mean(values, dim=(1, 2, 3), correction=0, keepdim=True)
        return (values - mean) * (self.std / deviation.clamp_min(FLATTEST))


class ImagenetPixels(BaseModel):
    """RGB in 0..1 minus ImageNet's mean, divided by its standard deviation: torchvision's own transform."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["imagenet"] = "imagenet"

    def apply(self, images: Tensor) -> Tensor:
        """uint8, or float in 0..255, (N, 3, h, w) -> float32."""
        # Copied without waiting for the device: a training applies this at every step.
        mean = (torch.tensor(IMAGENET_MEAN).view(3, 1, 1) * 255).to(images.device, non_blocking=True)
        std = (torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255).to(images.device, non_blocking=True)
        return (images.float() - mean) / std


LIGHTNESS_MEAN, LIGHTNESS_SCALE, COLOUR_SCALE = 50.0, 25.0, 15.0
"""Of Lab: about the mean and the standard deviations in photographs (our choice)."""


class LightnessPixels(BaseModel):
    """Lab's lightness, (L - 50) / 25, in each of the three channels: what a network that tells colours may see."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["lightness"] = "lightness"

    def apply(self, images: Tensor) -> Tensor:
        """uint8, or float in 0..255, (N, 3, h, w) -> float32, channels_last."""
        light = (lightness(images) - LIGHTNESS_MEAN) / LIGHTNESS_SCALE
        return light.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


class LabPixels(BaseModel):
    """Lab: (L - 50) / 25, a / 15, b / 15."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["lab"] = "lab"

    def apply(self, images: Tensor) -> Tensor:
        """uint8, or float in 0..255, (N, 3, h, w) -> float32, channels_last."""
        light, a, b = rgb_to_lab(images).unbind(1)
        scaled = [(light - LIGHTNESS_MEAN) / LIGHTNESS_SCALE, a / COLOUR_SCALE, b / COLOUR_SCALE]
        return torch.stack(scaled, dim=1).contiguous(memory_format=torch.channels_last)


Pixels = Annotated[ImagePixels | ImagenetPixels | LightnessPixels | LabPixels, Field(discriminator="kind")]
