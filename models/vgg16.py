"""VGG16's thirteen convolutions (Simonyan and Zisserman 2015), with torchvision's layer order."""

from torch import nn

from models.config import BackboneConfig
from models.layers import ClippedMaxPool2d, Trunk, init_he, scaled

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each block."""


def vgg16_trunk(config: BackboneConfig) -> Trunk:
    """Convolutions of `config`, freshly initialised (He, fan-in) from torch's global generator.

    The taps are the blocks' last maps: `conv4` is conv4_3, 28x28x512 at 224 px. Pooling 2/2 rounds up, which changes
    nothing at multiples of 32 px; a 64 px tile gives 2x2x512 after pool5 (SPEC 3.5).
    """
    layers: list[nn.Module] = []
    tap_ends: dict[str, int] = {}
    tap_channels: dict[str, int] = {}
    before = 3
    for number, (published, convolutions) in enumerate(_BLOCKS, start=1):
        channels = scaled(published, config.width)
        for _ in range(convolutions):
            layers.append(nn.Conv2d(before, channels, 3, padding=1))
            if config.norm == "batch":
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=True))
            before = channels
        tap_ends[f"conv{number}"], tap_channels[f"conv{number}"] = len(layers), channels
        layers.append(ClippedMaxPool2d(2, 2, ceil=True))
    init_he(layers)
    return Trunk(layers, tap_ends, tap_channels)
