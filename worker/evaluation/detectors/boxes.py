"""Boxes (x1, y1, x2, y2) in pixels from 0, half-open, and what a detector says about them."""

import math

import torch
from torch import Tensor

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)
"""Targets are divided by these, the published detectors' normalisation: all four then vary about as much."""
LARGEST_GROWTH = math.log(1000 / 16)
"""Of a side, as a logarithm: keeps the exponential finite while a detector knows nothing (the published bound)."""


def encode(boxes: Tensor, truths: Tensor) -> Tensor:
    """Normalised shifts (n, 4) that lead from `boxes` to `truths`, both (n, 4): of the middle in units of the side, of
    the sides as logarithms (Girshick et al. 2014, appendix C). They don't depend on the image's scale."""
    middles, sides = _middles(boxes), _sides(boxes)
    moved = (_middles(truths) - middles) / sides
    grown = (_sides(truths) / sides).log()
    return torch.cat([moved, grown], dim=-1) / boxes.new_tensor(DEVIATIONS)


def decode(boxes: Tensor, shifts: Tensor) -> Tensor:
    """The inverse of `encode`: where normalised `shifts` (..., 4) lead `boxes` (..., 4), which broadcast."""
    shifts = shifts * torch.tensor(DEVIATIONS, device=shifts.device)
    middles = _middles(boxes) + shifts[..., :2] * _sides(boxes)
    sides = _sides(boxes) * shifts[..., 2:].clamp(max=LARGEST_GROWTH).exp()
    return torch.cat([middles - sides / 2, middles + sides / 2], dim=-1)


def mirrored(boxes: Tensor, width: float) -> Tensor:
    """`boxes` (n, 4) of an image of `width` pixels, after it was turned left to right."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)


def _middles(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _sides(boxes: Tensor) -> Tensor:
    return boxes[..., 2:] - boxes[..., :2]
