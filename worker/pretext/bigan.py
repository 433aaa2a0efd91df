"""BiGAN: an encoder and a generator learn to be each other's inverse by fooling a discriminator (Donahue et al., 2017).

The discriminator tells (image, its code) from (image made of a drawn code, that code). Both players learn in one
backward pass: the discriminator from pairs that are cut off from their makers, the makers through a discriminator whose
weights are cut off.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from models.backbone import Backbone, build_backbone, map_shape
from models.config import BackboneConfig
from models.layers import init_he
from worker.config.pretext.bigan import BiganConfig
from worker.config.schedule import TrainingSchedule
from worker.data.store import ImageStore
from worker.pictures.tensor_image import captioned, image_of, side_by_side
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored
from worker.stages.contract import Context
from worker.stages.crops import mirrored_at_random, random_crops

SMALLEST = 4
"""Side of the generator's first and the discriminator's last map, pixels."""
SLOPE = 0.2
"""Of leaky ReLUs, below 0."""


class BiganNetwork(PretextNetwork):
    """The head turns the backbone's maps into a code."""

    def __init__(self, backbone: Backbone, head: nn.Module, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__(backbone, head)
        self.generator = generator
        self.discriminator = discriminator

    def forward(self, seen: Tensor, real: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, crop, crop) and the same small, (N, 3, made, made) in -1..1; drawn codes (N, code).

        Two verdicts, logits (2N,) each: real pairs before made ones. Gradients of the first reach the discriminator
        alone, those of the second its opponents alone.
        """
        images = torch.cat([real, self.generate(codes)])
        pairs = (images, torch.cat([self.encode(seen), codes]))
        judged = self.discriminator(*(values.detach() for values in pairs))
        frozen = {name: weights.detach() for name, weights in self.discriminator.named_parameters()}
        return judged, functional_call(self.discriminator, frozen, pairs)

    def encode(self, seen: Tensor) -> Tensor:
        """Images (N, 3, crop, crop) -> codes (N, code)."""
        codes: Tensor = self.head(self.backbone(seen))
        return codes

    def generate(self, codes: Tensor) -> Tensor:
        """Codes (N, code) -> images (N, 3, made, made) in -1..1."""
        images: Tensor = self.generator(codes)
        return images


class Discriminator(nn.Module):
    """Spectral norm in every layer (our choice), so that it doesn't outrun its opponents.

    Batch norm would see real and made images in one batch and tell them by that.
    """

    def __init__(self, made: int, code: int, width: int, channels: int) -> None:
        super().__init__()
        sizes = [3, *(channels * 2**step for step in range(_doublings(made)))]
        convolutions = [nn.Conv2d(before, after, 4, 2, 1) for before, after in pairwise(sizes)]
        self.of_image = nn.Sequential(*_leaky(convolutions), nn.Flatten())
        self.of_code = nn.Sequential(*_leaky([nn.Linear(code, width), nn.Linear(width, width)]))
        hidden = nn.Linear(sizes[-1] * SMALLEST**2 + width, width)
        self.of_both = nn.Sequential(*_leaky([hidden]), spectral_norm(nn.Linear(width, 1)))

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        """Images (M, 3, made, made) in -1..1, codes (M, code) -> logits (M,): above 0, the image was there first."""
        both = torch.cat([self.of_image(images), self.of_code(codes)], dim=1)
        logits: Tensor = self.of_both(both)
        return logits.squeeze(1)


class BiganTask(PretextTask):
    """`correct` counts the discriminator's right verdicts: at all or at half of them its opponents learn little."""

    def __init__(self, config: BiganConfig, backbone: BackboneConfig, schedule: TrainingSchedule) -> None:
        self._config = config
        self._schedule = schedule
        self.crop = int(config.crop)
        self.chance_accuracy = 0.5
        made, code = int(config.made), config.code
        features = math.prod(map_shape(backbone, self.crop))
        trunk = build_backbone(backbone)
        discriminator = Discriminator(made, code, config.width, config.channels)
        head = code_head(features, config.width, code)
        self._network = BiganNetwork(trunk, head, image_generator(made, code, config.channels), discriminator)
        self.network = self._network

    def prepare(self, store: ImageStore, context: Context) -> None:
        if self._schedule.optimizer != "adam":
            context.log(
                "BiGAN's players learn by Adam: set `schedule` to optimizer adam, lr 2e-4, momentum 0.5, "
                "weight_decay 2.5e-5. Plain SGD seldom balances them.",
                "warning",
            )

    def make(self, images: Tensor, generator: Generator) -> Examples:
        seen, real = self.cut(images, generator)
        codes = torch.rand((len(images), self._config.code), generator=generator) * 2 - 1
        truth = torch.arange(2 * len(images), device=images.device) < len(images)
        inputs = (self.pixels.apply(seen), real, codes.to(images.device, non_blocking=True))
        return Examples(inputs, (truth.float(),))

    def cut(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Crops uint8 (N, 3, crop, crop), and the same small: float32 (N, 3, made, made) in -1..1."""
        crops = random_crops(images, self.crop, 1.0, generator)
        if self._config.flip:
            crops = mirrored_at_random(crops, generator)
        made = int(self._config.made)
        small = functional.interpolate(crops.float(), size=(made, made), mode="bilinear", antialias=True)
        return crops, small / 127.5 - 1

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        (judged, fooled), (truth,) = outputs, targets
        of_discriminator = functional.binary_cross_entropy_with_logits(judged, truth)
        of_makers = functional.binary_cross_entropy_with_logits(fooled, 1 - truth)
        correct = ((judged.detach() > 0) == (truth > 0)).sum()
        return Scored(loss=of_discriminator + of_makers, answers=len(truth), correct=correct)

    @torch.no_grad()
    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """The image that is judged, and what the generator makes of its code."""
        seen, real = self.cut(images, generator)
        training = self.network.training
        self.network.eval()
        made = self._network.generate(self._network.encode(self.pixels.apply(seen)))
        self.network.train(training)
        rows = zip(seen, (real + 1) * 127.5, (made + 1) * 127.5, strict=True)
        told = "seen, judged, made"
        return [captioned(side_by_side([image_of(one) for one in row]), told) for row in rows]

    def head_arguments(self) -> dict[str, Any]:
        return {"width": self._config.width, "code": self._config.code}

    @property
    def classes(self) -> int:
        return 0


def code_head(features: int, width: int, code: int) -> nn.Sequential:
    """The encoder's end: one hidden layer, and codes in -1..1, where the drawn ones are (the bound is our choice)."""
    hidden, last = nn.Linear(features, width), nn.Linear(width, code)
    init_he([hidden, last])
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(inplace=True), last, nn.Tanh())


def image_generator(made: int, code: int, channels: int) -> nn.Sequential:
    """Codes (N, code) -> images (N, 3, made, made) in -1..1, doubling the map's side layer by layer (as DCGAN's)."""
    sizes = [channels * 2**step for step in reversed(range(_doublings(made)))]
    layers: list[nn.Module] = [nn.Linear(code, sizes[0] * SMALLEST**2), nn.Unflatten(1, (sizes[0], SMALLEST, SMALLEST))]
    for before, after in zip(sizes, [*sizes[1:], 3], strict=True):
        layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return nn.Sequential(*layers, nn.Tanh())


def _doublings(made: int) -> int:
    return (made // SMALLEST).bit_length() - 1


def _leaky(layers: Sequence[nn.Module]) -> list[nn.Module]:
    return [one for layer in layers for one in (spectral_norm(layer), nn.LeakyReLU(SLOPE))]
