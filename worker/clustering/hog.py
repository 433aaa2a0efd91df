"""Histograms of oriented gradients (Dalal and Triggs 2005) of many images at a time, on their device."""

import math

import torch
from torch import Tensor
from torch.nn import functional

LUMA = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue in grey (ITU-R BT.709)."""
CLIP = 0.2
"""Largest value of a block before it is normalised again: the `Hys` of L2-Hys."""
EPSILON = 1e-5


def grey(images: Tensor) -> Tensor:
    """uint8 (N, 3, h, w) -> float32 (N, h, w) in 0..1."""
    weights = torch.tensor(LUMA, device=images.device).view(3, 1, 1) / 255
    return (images.float() * weights).sum(1)


def hog_blocks(images: Tensor, cell: int, block: int, orientations: int) -> Tensor:
    """float32 (N, h, w) -> (N, rows, columns, block * block * orientations): L2-Hys blocks one cell apart.

    Every pixel votes with its gradient's length for one of `orientations` unsigned directions of its cell; within a
    block values are ordered by cell row, cell column, orientation. These are the values of scikit-image's `hog`.
    """
    histograms = _cell_histograms(images, cell, orientations)
    # (N, orientations, rows, columns, block, block): a view, without a copy.
    windows = histograms.unfold(2, block, 1).unfold(3, block, 1)
    return _l2_hys(windows.permute(0, 2, 3, 4, 5, 1).flatten(3))


def blocks_per_side(crop: int, cell: int, block: int) -> int:
    """Of a square image; below 1 where not even one block fits."""
    return crop // cell - block + 1


def _cell_histograms(images: Tensor, cell: int, orientations: int) -> Tensor:
    """(N, orientations, h // cell, w // cell): summed gradient lengths over the cell's area."""
    across, down = _gradients(images)
    length = torch.hypot(across, down)
    # Unsigned: opposite directions are one. atan2's range is -pi..pi, so the quotient may round up to a whole turn.
    direction = torch.atan2(down, across).remainder(math.pi) * (orientations / math.pi)
    chosen = direction.long().clamp_max(orientations - 1)
    zero = length.new_zeros(())
    votes = [torch.where(chosen == number, length, zero) for number in range(orientations)]
    return torch.stack([functional.avg_pool2d(vote, cell) for vote in votes], dim=1)


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y; 0 in the border's pixels, which have one neighbour only."""
    across, down = torch.zeros_like(images), torch.zeros_like(images)
    across[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    down[:, 1:-1, :] = images[:, 2:, :] - images[:, :-2, :]
    return across, down


def _l2_hys(blocks: Tensor) -> Tensor:
    return _unit(_unit(blocks).clamp_max(CLIP))


def _unit(blocks: Tensor) -> Tensor:
    return blocks / (blocks.square().sum(-1, keepdim=True) + EPSILON**2).sqrt()
