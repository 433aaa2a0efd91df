"""Photographs of any size as a detector is shown them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.pixels import Pixels


def scaled_size(size: tuple[int, int], short: int, longest: int) -> tuple[int, int]:
    """(width, height) such that the shorter side is `short` pixels, or the longer one `longest` if that is less."""
    factor = min(short / min(size), longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def shown(image: Tensor, size: tuple[int, int], pixels: Pixels, mirror: bool = False) -> Tensor:
    """uint8 (3, h, w) -> float32 (3, height, width) of `size` (width, height), normalised, on the image's device."""
    values = image[None].float()
    shrinks = size[0] < image.shape[2] or size[1] < image.shape[1]
    if size != (image.shape[2], image.shape[1]):
        values = functional.interpolate(values, size=size[::-1], mode="bilinear", antialias=shrinks)
    normalised = pixels.apply(values)[0]
    return normalised.flip(-1) if mirror else normalised


def batched(images: Sequence[Tensor], multiple: int) -> Tensor:
    """Images (3, h, w) of several sizes -> (N, 3, H, W), 0 right of and below each; H and W are multiples."""
    height = _up(max(image.shape[1] for image in images), multiple)
    width = _up(max(image.shape[2] for image in images), multiple)
    batch = images[0].new_zeros((len(images), 3, height, width)).contiguous(memory_format=torch.channels_last)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return batch


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
