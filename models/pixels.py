"""How a network wants its pixels; written into its checkpoint."""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

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


Pixels = Annotated[ImagePixels | ImagenetPixels, Field(discriminator="kind")]
