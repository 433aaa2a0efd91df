"""AlexNet's convolutions: the grouped network of the paper (CaffeNet order), and torchvision's."""

from typing import NamedTuple

from torch import nn

from models.config import Arch, BackboneConfig
from models.layers import ClippedMaxPool2d, Trunk, init_bias, init_he, scaled


class _Conv(NamedTuple):
    channels: int
    kernel: int
    padding: int
    groups: int
    pooled: bool
    gaussian_bias: float


def alexnet_trunk(config: BackboneConfig) -> Trunk:
    """Convolutions of `config`, freshly initialised from torch's global generator.

    `alexnet`: 96/256/384/384/256, conv2, conv4, conv5 in two groups, no padding on conv1, pooling 3/2 rounding up, the
    released network (SPEC 3.4): a 64 px tile at stride 2 gives 27, 13, 6, 3; 227 px at stride 4 give 55, 27, 13, 6.
    `alexnet-torchvision`: the layers of `torchvision.models.alexnet().features`, pooling rounds down.
    With `norm="lrn"` pooling comes before the response normalisation (CaffeNet).
    """
    layers: list[nn.Module] = []
    tap_ends: dict[str, int] = {}
    tap_channels: dict[str, int] = {}
    before = 3
    for number, conv in enumerate(_published(config), start=1):
        channels = scaled(conv.channels, config.width)
        stride = config.conv1_stride if number == 1 else 1
        layers.append(nn.Conv2d(before, channels, conv.kernel, stride, conv.padding, groups=conv.groups))
        if config.norm == "batch":
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU(inplace=True))
        tap_ends[f"conv{number}"], tap_channels[f"conv{number}"] = len(layers), channels
        if conv.pooled:
            layers.append(ClippedMaxPool2d(3, 2, ceil=config.arch is Arch.alexnet))
        if config.norm == "lrn" and number <= 2:
            layers.append(nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0))
        before = channels
    _init(layers, config)
    return Trunk(layers, tap_ends, tap_channels)


def _published(config: BackboneConfig) -> tuple[_Conv, ...]:
    if config.arch is Arch.alexnet_torchvision:
        return (
            _Conv(64, 11, 2, 1, True, 0.0),
            _Conv(192, 5, 2, 1, True, 1.0),
            _Conv(384, 3, 1, 1, False, 0.0),
            _Conv(256, 3, 1, 1, False, 1.0),
            _Conv(256, 3, 1, 1, True, 1.0),
        )
    return (
        _Conv(96, 11, 0, 1, True, 0.0),
        _Conv(256, 5, 2, 2, True, 1.0),
        _Conv(384, 3, 1, 1, False, 0.0),
        _Conv(384, 3, 1, 2, False, 1.0),
        _Conv(256, 3, 1, 2, True, 1.0),
    )


def _init(layers: list[nn.Module], config: BackboneConfig) -> None:
    if config.norm != "lrn":
        return init_he(layers)
    convs = (layer for layer in layers if isinstance(layer, nn.Conv2d))
    for layer, published in zip(convs, _published(config), strict=True):
        nn.init.normal_(layer.weight, std=0.01)
        init_bias(layer, published.gaussian_bias)
