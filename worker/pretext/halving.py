"""Images at half their size, by one of several filters each: a product with a matrix from either side."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from worker.config.pretext.counting import Filter

LANCZOS_LOBES = 3


def halving_matrices(side: int, filters: Sequence[Filter]) -> Tensor:
    """float32 (filters, side / 2, side): row i holds the weights that pixels get in the half-size pixel i; sums are 1.

    The filters are stretched to twice their width (antialiasing) and cut off at the image's edge. `side` is even.
    """
    apart = torch.arange(side)[None, :] + 0.5 - (2 * torch.arange(side // 2)[:, None] + 1)
    weights = torch.stack([_FILTERS[name](apart / 2) for name in filters])
    return weights / weights.sum(-1, keepdim=True)


def halved(images: Tensor, matrices: Tensor) -> Tensor:
    """float32 (N, C, side, side), each one's matrix (N, side / 2, side) -> (N, C, side / 2, side / 2) in 0..255."""
    each = matrices[:, None]
    return (each @ images @ each.mT).clamp_(0, 255)


def _box(x: Tensor) -> Tensor:
    return (x.abs() < 0.5).float()


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def _cubic(x: Tensor) -> Tensor:
    """Keys (1981) with a = -1/2."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0.0))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < LANCZOS_LOBES, torch.sinc(x) * torch.sinc(x / LANCZOS_LOBES), 0.0)


_FILTERS: dict[Filter, Callable[[Tensor], Tensor]] = {
    "box": _box,
    "bilinear": _triangle,
    "bicubic": _cubic,
    "lanczos": _lanczos,
}
