"""SimCLR: which of all other views is of the same image? (Chen et al., ICML 2020; beyond the paper)"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional

from models.backbone import build_backbone
from models.config import BackboneConfig
from models.layers import init_he
from worker.config.pretext.simclr import SimclrConfig
from worker.data.store import ImageStore
from worker.pictures.tensor_image import captioned, image_of, side_by_side
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored, chance_of, told_apart
from worker.pretext.views import draw_views, views
from worker.stages.contract import Context


class SimclrNetwork(PretextNetwork):
    def forward(self, images: Tensor) -> Tensor:
        """(M, 3, crop, crop) -> projections (M, outputs)."""
        projections: Tensor = self.head(self.backbone(images))
        return projections


class SimclrTask(PretextTask):
    def __init__(self, config: SimclrConfig, backbone: BackboneConfig, batch: int) -> None:
        """`batch` is the number of images in a step: the more, the harder."""
        self._config = config
        self._batch = batch
        self.crop = int(config.crop)
        self.chance_loss, self.chance_accuracy = chance_of(2 * batch - 1)
        trunk = build_backbone(backbone)
        self.network = SimclrNetwork(trunk, projection_head(trunk.out_channels, config.width, config.outputs))

    def prepare(self, store: ImageStore, context: Context) -> None:
        """Fewer images than a batch make a smaller one, with fewer views to tell apart."""
        self.chance_loss, self.chance_accuracy = chance_of(2 * min(self._batch, store.count) - 1)

    def make(self, images: Tensor, generator: Generator) -> Examples:
        seen = self.pixels.apply(torch.cat(self.pairs(images, generator)))
        return Examples((seen.contiguous(memory_format=torch.channels_last),), ())

    def pairs(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Two views of each, float32 (N, 3, crop, crop) in 0..255."""
        values = images.float()
        plans = [draw_views(self._config, len(images), generator) for _ in range(2)]
        return views(values, plans[0], self.crop), views(values, plans[1], self.crop)

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        return matched(outputs[0], self._config.temperature)

    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """The image and its two views."""
        rows = zip(images, *self.pairs(images, generator), strict=True)
        return [captioned(side_by_side([image_of(one) for one in row]), "image, two views of it") for row in rows]

    def head_arguments(self) -> dict[str, Any]:
        return {"width": self._config.width, "outputs": self._config.outputs}

    @property
    def classes(self) -> int:
        return 0


def projection_head(channels: int, width: int, outputs: int) -> nn.Sequential:
    """Mean over the map, then two layers with batch norm between them, as its authors have it."""
    layers = [nn.Linear(channels, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    last = nn.Linear(width, outputs)
    init_he([*layers, last])
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers, last)


def matched(projections: Tensor, temperature: float) -> Scored:
    """NT-Xent of projections (2N, D), the N first views before the N second ones in the same order.

    Every view is to be told its twin among the 2N - 1 others by cosine similarity: the mean over all 2N of them.
    """
    directions = functional.normalize(projections, dim=1)
    count = len(directions)
    places = torch.arange(count, device=directions.device)
    logits = directions @ directions.T / temperature
    logits = logits.masked_fill(places[:, None] == places, float("-inf"))
    return told_apart(logits, (places + count // 2) % count)
