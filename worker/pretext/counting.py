"""Counting: the counts of an image's four tiles add up to those of the whole (Noroozi et al., ICCV 2017)."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional

from models.backbone import build_backbone, map_shape
from models.config import BackboneConfig
from models.layers import init_he
from worker.config.pretext.counting import CountingConfig
from worker.pictures.tensor_image import captioned, image_of, side_by_side, stacked
from worker.pretext.halving import halved, halving_matrices
from worker.pretext.puzzles import draw_others
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored
from worker.stages.crops import greyed_at_random, mirrored_at_random, random_crops

TILES = 4
LAST_SCALE = 0.05
"""Of the last layer's weights at the start."""


class CountingNetwork(PretextNetwork):
    def forward(self, images: Tensor) -> Tensor:
        """(M, 3, tile, tile) -> counts (M, counts), none below 0."""
        counts: Tensor = self.head(self.backbone(images))
        return counts


class CountingTask(PretextTask):
    """Raises RuntimeError where tiles are too small for the backbone."""

    def __init__(self, config: CountingConfig, backbone: BackboneConfig) -> None:
        self._config = config
        self.crop = int(config.crop)
        # Counts that are the same whatever is seen, c: |c - 4c|^2 + max(0, margin - |c - 4c|^2) is never less.
        self.chance_loss = config.margin
        self._matrices = halving_matrices(self.crop, config.filters)
        features = map_shape(backbone, self.crop // 2)
        trunk = build_backbone(backbone)
        head = counting_head(features[0] * features[1] * features[2], config.width, config.counts)
        self.network = CountingNetwork(trunk, head)

    def make(self, images: Tensor, generator: Generator) -> Examples:
        halves, tiles = self.cut(images, generator)
        seen = self.pixels.apply(torch.cat([halves, tiles.flatten(0, 1)]))
        others = draw_others(len(images), generator).to(images.device, non_blocking=True)
        return Examples((seen.contiguous(memory_format=torch.channels_last),), (others,))

    def cut(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Half-size images (N, 3, tile, tile) and tiles in reading order (N, 4, 3, tile, tile), float32 in 0..255."""
        crops = random_crops(images, self.crop, 1.0, generator)
        if self._config.flip:
            crops = mirrored_at_random(crops, generator)
        crops = greyed_at_random(crops, self._config.grey, generator)
        chosen = torch.randint(len(self._matrices), (len(images),), generator=generator)
        halves = halved(crops, self._matrices[chosen].to(images.device, non_blocking=True))
        return halves, quartered(crops)

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        return counted(outputs[0], targets[0], self._config.margin)

    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """The half-size image beside the four tiles whose counts are to add up to its."""
        halves, tiles = self.cut(images, generator)
        return [_picture(half, own) for half, own in zip(halves, tiles, strict=True)]

    def head_arguments(self) -> dict[str, Any]:
        return {"width": self._config.width, "counts": self._config.counts}


def quartered(images: Tensor) -> Tensor:
    """(N, 3, 2t, 2t) -> its tiles in reading order, (N, 4, 3, t, t)."""
    return torch.stack([tile for row in images.chunk(2, 2) for tile in row.chunk(2, 3)], dim=1)


def counting_head(features: int, width: int, counts: int) -> nn.Sequential:
    """fc6, fc7 and the counts, each followed by a ReLU, as in the paper.

    The last layer starts small (our choice): squared distances between counts then start about the margin's size.
    """
    last = nn.Linear(width, counts)
    hidden = [nn.Linear(features, width), nn.ReLU(inplace=True), nn.Linear(width, width), nn.ReLU(inplace=True)]
    init_he([*hidden, last])
    with torch.no_grad():
        last.weight.mul_(LAST_SCALE)
    return nn.Sequential(nn.Flatten(), *hidden, last, nn.ReLU())


def counted(counts: Tensor, others: Tensor, margin: float) -> Scored:
    """Contrastive loss of counts (5N, C), N half-size images before the 4N tiles of one after the other.

    With s the sum over an image's tiles: |half - s|^2 + max(0, margin - |half of the image `others` - s|^2), the mean
    over the images; `others` int64 (N,).
    """
    halves, tiles = counts[: len(others)], counts[len(others) :]
    sums = tiles.view(len(others), TILES, -1).sum(1)
    own = (halves - sums).square().sum(1)
    foreign = (halves[others] - sums).square().sum(1)
    return Scored(loss=(own + functional.relu(margin - foreign)).mean(), answers=len(others))


def _picture(half: Tensor, tiles: Tensor) -> Image.Image:
    rows = [side_by_side([image_of(tile) for tile in row]) for row in (tiles[:2], tiles[2:])]
    return captioned(side_by_side([image_of(half), stacked(rows)]), "half = sum of tiles")
