"""Rotation: by which quarter turn was the image rotated? (Gidaris et al., ICLR 2018; beyond the paper)"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from models.backbone import build_backbone
from models.config import BackboneConfig
from models.heads import ClassifierHead
from worker.config.pretext.rotation import RotationConfig
from worker.pictures.tensor_image import captioned, image_of
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored, chance_of, told_apart
from worker.stages.crops import mirrored_at_random, random_crops

TURNS = 4


class RotationNetwork(PretextNetwork):
    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, crop, crop) -> logits (N, 4)."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


class RotationTask(PretextTask):
    def __init__(self, config: RotationConfig, backbone: BackboneConfig) -> None:
        self._config = config
        self.crop = int(config.crop)
        self.chance_loss, self.chance_accuracy = chance_of(TURNS)
        trunk = build_backbone(backbone)
        head = ClassifierHead(trunk.out_channels, TURNS, **self.head_arguments())
        self.network = RotationNetwork(trunk, head)

    def make(self, images: Tensor, generator: Generator) -> Examples:
        turned, turns = self.turned(images, generator)
        return Examples((self.pixels.apply(turned),), (turns,))

    def turned(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Crops uint8 (M, 3, crop, crop), turned anticlockwise by `turns` int64 (M,) quarters.

        M is 4N, all turns of an image one after the other, or N with one drawn turn each.
        """
        crops = random_crops(images, self.crop, 1.0, generator)
        if self._config.flip:
            crops = mirrored_at_random(crops, generator)
        count = len(crops)
        all_turned = torch.stack([torch.rot90(crops, turn, dims=(2, 3)) for turn in range(TURNS)], dim=1)
        if self._config.all_turns:
            return all_turned.flatten(0, 1), torch.arange(TURNS, device=crops.device).repeat(count)
        turns = torch.randint(TURNS, (count,), generator=generator).to(crops.device, non_blocking=True)
        return all_turned[torch.arange(count, device=crops.device), turns], turns

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        return told_apart(outputs[0], targets[0])

    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        turned, turns = self.turned(images, generator)
        each = len(turned) // len(images)
        chosen = [image * each + image % each for image in range(len(images))]
        return [captioned(image_of(turned[one]), f"turned by {90 * int(turns[one])} degrees") for one in chosen]

    def head_arguments(self) -> dict[str, Any]:
        return {"width": self._config.width, "dropout": self._config.dropout}
