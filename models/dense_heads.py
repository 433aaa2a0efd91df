"""Heads that answer for every place of the image rather than once for all of it."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.layers import init_bias, init_he

RAREST = 1e-5
"""Share of a class that hasn't been seen, when a head starts from what was."""


class DenseHead(nn.Module):
    """A class for every place: AlexNet's fully connected layers as convolutions, fc6 dilated (SPEC section 10).

    The logits' map is `finer` times as fine as the one they are read from. The last layer starts near 0, so that the
    loss starts at ln(classes).
    """

    def __init__(self, in_channels: int, classes: int, width: int = 512, finer: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normalised(nn.Conv2d(in_channels, width, 3, padding=2, dilation=2, bias=False), width),
            *_normalised(nn.Conv2d(width, width, 1, bias=False), width),
        )
        self.last = nn.ConvTranspose2d(width, classes, finer, finer)
        init_he(list(self.layers))
        nn.init.normal_(self.last.weight, std=0.01)
        init_bias(self.last, 0.0)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, classes, h * finer, w * finer) logits."""
        logits: Tensor = self.last(self.layers(maps))
        return logits

    @torch.no_grad()
    def start_from(self, shares: Tensor) -> None:
        """Guess by the classes' shares (classes,), so that nothing need be learnt before that."""
        assert self.last.bias is not None
        self.last.bias.copy_(shares.clamp_min(RAREST).log())


class ChannelwiseLinear(nn.Module):
    """The places of each channel connected with each other, and with no other channel (Pathak et al., CVPR 2016)."""

    def __init__(self, channels: int, places: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, places, places))
        nn.init.normal_(self.weight, std=(2 / places) ** 0.5)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels, h, w) with h * w = places -> the same shape."""
        by_channel = maps.flatten(2).transpose(0, 1)
        return torch.bmm(by_channel, self.weight).transpose(0, 1).reshape(maps.shape)


class InpaintingHead(nn.Module):
    """Pixels from an encoder's map: channel-wise connections, then up-convolutions that double the side each time.

    `width` is the first up-convolution's channels; they halve at every further one, down to 16.
    """

    def __init__(self, channels: int, places: int, doublings: int, width: int = 128) -> None:
        super().__init__()
        widths = [channels, *(max(16, width >> number) for number in range(doublings - 1))]
        layers = [
            *_normalised(ChannelwiseLinear(channels, places), channels),
            *_normalised(nn.Conv2d(channels, channels, 1, bias=False), channels),
        ]
        for before, after in pairwise(widths):
            layers += _normalised(nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), after)
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1))
        init_he(layers)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels, h, w) -> (N, 3, h * 2**doublings, w * 2**doublings)."""
        pixels: Tensor = self.layers(maps)
        return pixels


def _normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
