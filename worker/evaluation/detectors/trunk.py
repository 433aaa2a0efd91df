"""A checkpoint's convolutions as a detector looks through them: images of any size in, a map of even cells out."""

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import Backbone
from models.fold import fold_backbone
from models.layers import ClippedMaxPool2d
from worker.stages.frozen import layered, weights_digest
from worker.stages.precision import Precision, autocast


class Geometry(NamedTuple):
    stride: int
    """Pixels from one cell of the map to the next."""
    first: float
    """Where the middle of the first cell lies, as a pixel index from 0; negative before the first pixel."""


def geometry(layers: nn.Sequential) -> Geometry:
    """Of the map that convolutions and poolings make, from their kernels, strides and paddings."""
    stride, first = 1, 0.0
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            kernel, step, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
        elif isinstance(layer, ClippedMaxPool2d):
            kernel, step, padding = layer.kernel, layer.stride, 0
        else:
            continue
        first += ((kernel - 1) / 2 - padding) * stride
        stride *= step
    return Geometry(stride, first)


class DetectionTrunk(nn.Module):
    """conv1 .. conv5 before pool5, batch norm folded into the convolutions with the statistics it came with.

    The image is padded by 0, the mean of normalised pixels, so that the middle of cell k lies at pixel `stride * k` (to
    half a pixel), which is what RoI pooling takes for granted; a network whose first convolution has no padding would
    else see every box shifted by more than half a cell.
    """

    def __init__(self, backbone: Backbone, frozen: int, precision: Precision) -> None:
        """conv1 .. conv`frozen` don't learn. The backbone is copied, not changed."""
        super().__init__()
        folded = layered(copy.deepcopy(fold_backbone(backbone)))  # folding shares what it doesn't change
        self.features = folded.features[: folded.tap_end("conv5")].requires_grad_(True)
        self.out_channels = folded.out_channels
        self.stride, first = geometry(self.features)
        self._before = max(0, math.floor(first))
        self._reach = round(2 * first) + 1
        self._frozen = self.features[: folded.tap_end(f"conv{frozen}")] if frozen else nn.Sequential()
        self._frozen.requires_grad_(False)
        self._precision = precision

    def forward(self, images: Tensor) -> Tensor:
        """float32 (N, 3, h, w), normalised -> float32 (N, out_channels, ceil(h / stride), ceil(w / stride))."""
        rows, columns = (math.ceil(side / self.stride) for side in images.shape[-2:])
        after = [self._after(cells, side) for cells, side in zip((columns, rows), images.shape[:-3:-1], strict=True)]
        padded = functional.pad(images, (self._before, after[0], self._before, after[1]))
        with autocast(self._precision, images.device):
            maps: Tensor = self.features(padded.contiguous(memory_format=torch.channels_last))
        return maps[..., :rows, :columns].float()

    def frozen_digest(self) -> str:
        """Of the layers that don't learn."""
        return weights_digest(self._frozen)

    def _after(self, cells: int, side: int) -> int:
        """Pixels to add behind an image's `side` so that its last cell is there."""
        return max(0, (cells - 1) * self.stride + self._reach - side - self._before)
