"""Colorization: which colour has each place of the grey image? (Zhang, Isola and Efros, ECCV 2016; SPEC section 10)"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from models.backbone import Backbone, build_backbone, map_shape
from models.config import BackboneConfig
from models.dense_heads import DenseHead
from models.lab import lab_to_rgb, lightness, rgb_to_lab
from models.pixels import LightnessPixels
from worker.config.pretext.colorization import ColorizationConfig
from worker.data.store import ImageStore
from worker.pictures.tensor_image import captioned, image_of, side_by_side
from worker.pretext.ab_bins import AbBins, entropy
from worker.pretext.colour_sample import ColourSample, coloured, tell_of_grey
from worker.pretext.sample import sampled_images
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored
from worker.stages.contract import Context
from worker.stages.crops import centre_crops, mirrored_at_random, random_crops


class ColorizationNetwork(PretextNetwork):
    head: DenseHead

    def __init__(self, backbone: Backbone, head: DenseHead) -> None:
        super().__init__(backbone, head)

    def forward(self, light: Tensor) -> Tensor:
        """(N, 3, crop, crop), lightness in every channel -> logits (N, 313, h, w)."""
        tap = self.backbone.last_tap
        logits: Tensor = self.head(self.backbone.taps(light, [tap])[tap])
        return logits


class ColorizationTask(PretextTask):
    """Colours are the 313 bins of the ab plane, each place's spread over its five nearest; rare ones weigh more.

    The places are those of the deepest map (conv5), `finer` times as fine; a place's colour is that of the crop scaled
    down by area. Before `prepare`, all colours weigh alike.
    """

    network: ColorizationNetwork

    pixels = LightnessPixels()

    def __init__(self, config: ColorizationConfig, backbone: BackboneConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self.crop = int(config.crop)
        self._bins = AbBins.of_srgb()
        self._weights = torch.ones(len(self._bins))
        self._facts: dict[str, Any] = {"colour_bins": len(self._bins)}
        trunk = build_backbone(backbone)
        channels, height, width = map_shape(backbone, self.crop, trunk.last_tap)
        self._grid = (height * config.finer, width * config.finer)
        head = DenseHead(channels, len(self._bins), **self.head_arguments())
        self.network = ColorizationNetwork(trunk, head)

    def prepare(self, store: ImageStore, context: Context) -> None:
        """Weighs colours by their shares in a sample, and lets the head start from these; warns of grey images."""
        sample = ColourSample(len(self._bins))
        for images in sampled_images(store, int(self._config.side), self._seed, context):
            ab = self._colours(centre_crops(images, self.crop))
            sample.add(*self._bins.soft(ab), ab)
        message, alarming = tell_of_grey(sample.grey, sample.images)
        context.log(message, "warning" if alarming else "info")
        self._facts |= {"sampled_images": sample.images, "sampled_grey": sample.grey}
        if sample.is_grey:
            return
        self._weights = sample.weights(self._config.uniform)
        guess = sample.best_guess(self._weights)
        self.network.head.start_from(guess)
        self.chance_loss = float(entropy(guess))
        self._facts["floor_loss"] = sample.floor(self._weights)

    def make(self, images: Tensor, generator: Generator) -> Examples:
        crops = self._crops(images, generator)
        ab = self._colours(crops)
        bins, shares = self._bins.on(ab.device).soft(ab)
        weights = self._weights.to(ab.device, non_blocking=True)[bins[:, 0]] * coloured(ab)[:, None, None]
        return Examples((self.pixels.apply(crops),), (bins, shares, weights))

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        """Weighted mean of the places' cross-entropies; 0 where all images are grey."""
        (logits,), (bins, shares, weights) = outputs, targets
        losses = logits.logsumexp(1) - (logits.gather(1, bins) * shares).sum(1)
        # Only grey images' places weigh so little.
        return Scored(loss=(losses * weights).sum() / weights.sum().clamp_min(1e-3), answers=weights.numel())

    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """The lightness that is seen, beside the encoded colours that are to be told, each on its place's lightness."""
        crops = self._crops(images, generator)
        colours = self._bins.on(crops.device)
        bins, shares = colours.soft(self._colours(crops))
        ab = (colours.centres[bins] * shares[..., None]).sum(1).permute(0, 3, 1, 2)
        lightnesses = lightness(crops)
        told = lab_to_rgb(torch.cat([functional.adaptive_avg_pool2d(lightnesses, self._grid), ab], dim=1))
        told = functional.interpolate(told, size=crops.shape[2:])
        seen = (lightnesses * 2.55).expand(-1, 3, -1, -1)
        caption = "colours at {} x {} places".format(*self._grid)
        rows = [side_by_side([image_of(one), image_of(other)]) for one, other in zip(seen, told, strict=True)]
        return [captioned(row, caption) for row in rows]

    def facts(self) -> dict[str, Any]:
        return self._facts

    def head_arguments(self) -> dict[str, Any]:
        return {"width": self._config.width, "finer": self._config.finer}

    def _crops(self, images: Tensor, generator: Generator) -> Tensor:
        crops = random_crops(images, self.crop, 1.0, generator)
        return mirrored_at_random(crops, generator) if self._config.flip else crops

    def _colours(self, crops: Tensor) -> Tensor:
        """(N, 3, crop, crop) -> a and b of each place, (N, 2, h, w)."""
        return rgb_to_lab(functional.adaptive_avg_pool2d(crops.float(), self._grid))[:, 1:]
