"""Split-Brain: half of the network tells colour from lightness, half lightness from colour (Zhang et al., CVPR 2017;
SPEC section 10)."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional

from models.backbone import Backbone, LayeredBackbone, map_shape
from models.config import BackboneConfig
from models.dense_heads import DenseHead
from models.lab import lab_to_rgb, rgb_to_lab
from models.pixels import LabPixels
from worker.config.pretext.split_brain import SplitBrainConfig
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.pictures.tensor_image import captioned, image_of, side_by_side
from worker.pretext.ab_bins import AbBins, entropy
from worker.pretext.colour_sample import coloured, tell_of_grey
from worker.pretext.halves import halved_backbone, joined_backbone
from worker.pretext.sample import sampled_images
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored
from worker.stages.contract import Context, StageError
from worker.stages.crops import centre_crops, mirrored_at_random, random_crops

MIDDLE_LIGHTNESS = 60.0
"""On which colours alone are shown."""


class SplitBrainHead(nn.Module):
    """A head of its own on each half of the channels."""

    def __init__(self, channels: int, colours: int, lightnesses: int, width: int) -> None:
        super().__init__()
        self.colours = DenseHead(channels // 2, colours, width)
        self.lightnesses = DenseHead(channels // 2, lightnesses, width)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, h, w) -> logits of the colours and of the lightnesses, (N, bins, h, w)."""
        light, colour = maps.chunk(2, dim=1)
        return self.colours(light), self.lightnesses(colour)


class SplitBrainNetwork(PretextNetwork):
    backbone: LayeredBackbone
    head: SplitBrainHead

    def __init__(self, backbone: LayeredBackbone, head: SplitBrainHead) -> None:
        super().__init__(backbone, head)

    def forward(self, lab: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, crop, crop) -> logits (N, 313, h, w) of what half the network tells from L, (N, 50, h, w) from ab."""
        tap = self.backbone.last_tap
        logits: tuple[Tensor, Tensor] = self.head(self.backbone.taps(lab, [tap])[tap])
        return logits


class SplitBrainTask(PretextTask):
    """Each place's nearest bin, without spreading and without weights, as published; places are those of conv5's map.

    Raises `StageError(bad_config)` for a backbone that can't be cut into halves.
    """

    network: SplitBrainNetwork

    pixels = LabPixels()

    def __init__(self, config: SplitBrainConfig, backbone: BackboneConfig, seed: int) -> None:
        _require_halves(backbone)
        self._config = config
        self._seed = seed
        self.crop = int(config.crop)
        self._bins = AbBins.of_srgb()
        self._facts: dict[str, Any] = {"colour_bins": len(self._bins), "lightness_bins": config.lightness_bins}
        trunk = halved_backbone(backbone)
        channels, height, width = map_shape(backbone, self.crop, trunk.last_tap)
        self._grid = (height, width)
        head = SplitBrainHead(channels, len(self._bins), config.lightness_bins, config.width)
        self.network = SplitBrainNetwork(trunk, head)

    def prepare(self, store: ImageStore, context: Context) -> None:
        """Chance is the entropy of the colours in a sample, plus that of the lightnesses; heads start there."""
        sizes = (len(self._bins), self._config.lightness_bins)
        counts = [torch.zeros(size, dtype=torch.float64) for size in sizes]
        grey = images = 0
        for batch in sampled_images(store, int(self._config.side), self._seed, context):
            small = self._small(centre_crops(batch, self.crop))
            for count, bins in zip(counts, self._targets(small), strict=True):
                count += torch.bincount(bins.flatten(), minlength=len(count))
            images += len(batch)
            grey += len(batch) - int(coloured(small[:, 1:]).sum())
        message, alarming = tell_of_grey(grey, images)
        context.log(message, "warning" if alarming else "info")
        colours, lightnesses = (count / count.sum() for count in counts)
        self.network.head.colours.start_from(colours)
        self.network.head.lightnesses.start_from(lightnesses)
        self.chance_loss = float(entropy(colours) + entropy(lightnesses))
        self._facts |= {"sampled_images": images, "sampled_grey": grey}

    def make(self, images: Tensor, generator: Generator) -> Examples:
        crops = self._crops(images, generator)
        return Examples((self.pixels.apply(crops),), self._targets(self._small(crops)))

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        """The sum of both halves' mean cross-entropies."""
        losses = [functional.cross_entropy(*pair) for pair in zip(outputs, targets, strict=True)]
        return Scored(loss=losses[0] + losses[1], answers=targets[0].numel())

    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """What each half sees, and tells the other one: lightness, and colour on an equal lightness."""
        lab = rgb_to_lab(self._crops(images, generator))
        light = (lab[:, :1] * 2.55).expand(-1, 3, -1, -1)
        colour = lab_to_rgb(torch.cat([torch.full_like(lab[:, :1], MIDDLE_LIGHTNESS), lab[:, 1:]], dim=1))
        caption = "each half tells the other\nat {} x {} places".format(*self._grid)
        rows = [side_by_side([image_of(one), image_of(other)]) for one, other in zip(light, colour, strict=True)]
        return [captioned(row, caption) for row in rows]

    def facts(self) -> dict[str, Any]:
        return self._facts

    def head_arguments(self) -> dict[str, Any]:
        return {"width": self._config.width}

    def trained_backbone(self) -> tuple[BackboneConfig, Backbone]:
        """The plain backbone that computes what both halves do, side by side."""
        return self.network.backbone.config, joined_backbone(self.network.backbone)

    def _crops(self, images: Tensor, generator: Generator) -> Tensor:
        crops = random_crops(images, self.crop, 1.0, generator)
        return mirrored_at_random(crops, generator) if self._config.flip else crops

    def _small(self, crops: Tensor) -> Tensor:
        """Lab of each place, (N, 3, h, w): of the crop scaled down by area."""
        return rgb_to_lab(functional.adaptive_avg_pool2d(crops.float(), self._grid))

    def _targets(self, lab: Tensor) -> tuple[Tensor, Tensor]:
        """The places' bins of colour and of lightness, int64 (N, h, w)."""
        colours, _ = self._bins.on(lab.device).nearest(lab[:, 1:], 1)
        steps = self._config.lightness_bins
        return colours[:, 0], (lab[:, 0] * (steps / 100)).long().clamp(0, steps - 1)


def _require_halves(backbone: BackboneConfig) -> None:
    if backbone.library:
        message = f"Split-Brain cuts AlexNets and VGG16 into halves, but not {backbone.arch}."
        raise StageError(Reason.bad_config, message)
    if backbone.norm == "lrn":
        message = "Split-Brain needs a backbone with `norm` batch or none: lrn mixes the channels of both halves."
        raise StageError(Reason.bad_config, message)
