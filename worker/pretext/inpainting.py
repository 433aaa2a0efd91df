"""Context Encoder: what is missing there? L2 loss alone (Pathak et al., CVPR 2016; SPEC section 10)."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from models.backbone import build_backbone, map_shape
from models.config import BackboneConfig
from models.dense_heads import InpaintingHead
from models.pixels import IMAGENET_MEAN
from worker.config.pretext.inpainting import InpaintingConfig
from worker.data.store import ImageStore
from worker.pictures.tensor_image import captioned, image_of, side_by_side
from worker.pretext.sample import sampled_images
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored
from worker.stages.contract import Context
from worker.stages.crops import mirrored_at_random, random_crops
from worker.stages.randomness import torch_generator

DOUBLINGS = 4
"""Up-convolutions, at most."""
FLATTEST = 1e-4
"""Variance under which images are as good as all of one colour."""


class InpaintingNetwork(PretextNetwork):
    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, crop, crop) with holes -> (N, 3, t, t), the whole image in the smaller size of the decoder."""
        pixels: Tensor = self.head(self.backbone(images))
        return pixels


class InpaintingTask(PretextTask):
    """Targets are the network's pixels (ImageNet's normalisation) in the decoder's size, by area."""

    def __init__(self, config: InpaintingConfig, backbone: BackboneConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self.crop = int(config.crop)
        self._head = _head_arguments(config, backbone)
        self.network = InpaintingNetwork(build_backbone(backbone), InpaintingHead(**self._head))
        self._target = map_shape(backbone, self.crop)[1] * 2 ** int(self._head["doublings"])

    def prepare(self, store: ImageStore, context: Context) -> None:
        """Chance is the loss of one colour for all that is hidden: the variance of the hidden pixels, by channel."""
        weight = torch.zeros((), dtype=torch.float64)
        sums = torch.zeros((2, 3), dtype=torch.float64)
        for number, images in enumerate(sampled_images(store, int(self._config.side), self._seed, context)):
            target, hidden = self.make(images, torch_generator(self._seed, "sample", number)).targets
            weight += hidden.sum()
            sums += torch.stack([(hidden * target).sum((0, 2, 3)), (hidden * target.square()).sum((0, 2, 3))])
        mean, square = sums / weight
        variance = float((square - mean.square()).mean())
        self.chance_loss = variance if variance > FLATTEST else None
        context.log(f"Holes filled with the mean colour have a loss of {variance:.3f}: what a blind guess gets.")

    def make(self, images: Tensor, generator: Generator) -> Examples:
        crops, mask = self.masked(images, generator)
        values = self.pixels.apply(crops)
        target = functional.adaptive_avg_pool2d(values, self._target)
        hidden = functional.adaptive_avg_pool2d(mask.float(), self._target)
        # After the normalisation 0 is the mean colour.
        return Examples((values.masked_fill(mask, 0.0),), (target, hidden))

    def masked(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Crops uint8 (N, 3, crop, crop), and what of them is hidden, bool (N, 1, crop, crop)."""
        crops = random_crops(images, self.crop, 1.0, generator)
        if self._config.flip:
            crops = mirrored_at_random(crops, generator)
        if self._config.mask == "centre":
            sides = torch.full((len(images), 1), int(self._config.hole))
            corners = ((self.crop - sides) // 2)[..., None].expand(-1, -1, 2)
        else:
            sides, corners = self._draw_blocks(len(images), generator)
        return crops, _covered(sides.to(crops.device), corners.to(crops.device), self.crop)

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        """Mean squared difference where pixels were hidden; those that were so in part count in part."""
        target, hidden = targets
        squared = (outputs[0] - target).square() * hidden
        return Scored(loss=squared.sum() / (squared.shape[1] * hidden.sum()), answers=len(target))

    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """The crop with its holes, beside it with what the decoder is to fill in, in the decoder's size."""
        crops, mask = self.masked(images, generator)
        mean = torch.tensor(IMAGENET_MEAN, device=crops.device).view(3, 1, 1) * 255
        holes = torch.where(mask, mean, crops.float())
        small = functional.adaptive_avg_pool2d(crops.float(), self._target)
        filled = torch.where(mask, functional.interpolate(small, size=self.crop), crops.float())
        share = mask.float().mean((1, 2, 3)).tolist()
        told = [f"{each:.0%} hidden, to be told as {self._target} x {self._target} pixels" for each in share]
        shown = [side_by_side([image_of(one), image_of(other)]) for one, other in zip(holes, filled, strict=True)]
        return [captioned(*picture) for picture in zip(shown, told, strict=True)]

    def facts(self) -> dict[str, Any]:
        return {"target_side": self._target}

    def head_arguments(self) -> dict[str, Any]:
        return self._head

    def _draw_blocks(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Sides (N, B) and upper left corners (N, B, 2), pixels."""
        shape = (count, self._config.blocks)
        sides = torch.randint(int(self._config.smallest), int(self._config.largest) + 1, shape, generator=generator)
        room = (self.crop - sides + 1)[..., None]
        return sides, (torch.rand((*shape, 2), generator=generator) * room).long()


def _covered(sides: Tensor, corners: Tensor, crop: int) -> Tensor:
    """bool (N, 1, crop, crop): what the squares of `sides` (N, B) at `corners` (N, B, 2), y before x, cover."""
    place = torch.arange(crop, device=sides.device)
    starts = corners[..., None]
    within = ((place >= starts) & (place < starts + sides[..., None, None])).float()
    rows, columns = within.unbind(2)
    return (torch.bmm(rows.transpose(1, 2), columns) > 0).unsqueeze(1)


def _head_arguments(config: InpaintingConfig, backbone: BackboneConfig) -> dict[str, Any]:
    """As many doublings as the crop is larger than the encoder's last map."""
    channels, height, width = map_shape(backbone, int(config.crop))
    doublings = min(DOUBLINGS, (int(config.crop) // height).bit_length() - 1)
    return {"channels": channels, "places": height * width, "doublings": doublings, "width": config.width}
