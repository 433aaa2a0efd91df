"""Colours as classes: the ab plane in bins (Zhang, Isola and Efros, ECCV 2016; SPEC section 10)."""

import math
from typing import Self

import torch
from torch import Tensor

from models.lab import rgb_to_lab

SPACING = 10
"""Of the grid whose nodes are the bins' centres, in units of a and b."""
REACH = 120
"""No colour's a or b is further from 0."""
NEIGHBOURS = 5
SIGMA = 5.0
"""Of the Gaussian that spreads a colour over its nearest bins, in units of a and b."""


class AbBins:
    """The bins, and which of them are nearest to a colour: exactly, but looking only at those near its cell."""

    def __init__(self, centres: Tensor, near: Tensor) -> None:
        """`centres` (Q, 2); `near` (cells, K) int64: bins that may be among the five nearest to a cell's colours."""
        self.centres = centres
        self._near = near
        self._moved: AbBins | None = None

    @classmethod
    def of_srgb(cls) -> Self:
        """On the CPU."""
        centres = ab_centres()
        return cls(centres, _near_cells(centres))

    def __len__(self) -> int:
        return len(self.centres)

    def on(self, device: torch.device) -> "AbBins":
        """These bins on `device`; moved there once."""
        if device == self.centres.device:
            return self
        if self._moved is None or self._moved.centres.device != device:
            self._moved = AbBins(self.centres.to(device), self._near.to(device))
        return self._moved

    def nearest(self, ab: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """(N, 2, h, w) -> the `count` <= 5 nearest bins, int64, and squared distances, (N, count, h, w) each.

        The nearest comes first.
        """
        a, b = ab.unbind(1)
        candidates = self._near[_cell(a) * _CELLS + _cell(b)]
        found = self.centres[candidates]
        squared = (found[..., 0] - a[..., None]).square() + (found[..., 1] - b[..., None]).square()
        distances, chosen = squared.topk(count, dim=3, largest=False)
        return candidates.gather(3, chosen).permute(0, 3, 1, 2), distances.permute(0, 3, 1, 2)

    def soft(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 2, h, w) -> the five nearest bins, int64, and their shares, float32 with sum 1: (N, 5, h, w) each."""
        bins, squared = self.nearest(ab, NEIGHBOURS)
        return bins, torch.softmax(squared / (-2 * SIGMA**2), dim=1)


def ab_centres() -> Tensor:
    """float32 (313, 2), by a and then b: the nodes that bound a cell of the grid which sRGB's gamut touches.

    The gamut is taken as the convex hull of all colours' (a, b). A node belongs to such a cell where the hull comes
    nearer to it than `SPACING` in a and in b, that is where it lies in the hull enlarged by a square; convex sets are
    told apart by how far they reach in every direction. This rule gives the published number of bins.
    """
    levels = torch.linspace(0, 255, 17)
    colours = torch.cartesian_prod(levels, levels, levels).view(-1, 3, 1, 1)
    angles = torch.arange(3600, dtype=torch.float64) * (math.pi / 1800)
    directions = torch.stack([angles.cos(), angles.sin()])
    reach = (rgb_to_lab(colours)[:, 1:, 0, 0].double() @ directions).amax(0) + SPACING * directions.abs().sum(0)
    axis = torch.arange(-REACH, REACH + 1, SPACING, dtype=torch.float64)
    nodes = torch.cartesian_prod(axis, axis)
    return nodes[(nodes @ directions < reach).all(1)].float()


def rebalancing(prior: Tensor, uniform: float) -> Tensor:
    """(Q,) shares of the bins -> (Q,) weights of rare and frequent ones: mean 1 under the prior.

    The inverse of the prior mixed with the uniform distribution, whose part in the mixture is `uniform` (lambda).
    """
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / (weights * prior).sum()


def entropy(distribution: Tensor, dim: int = 0) -> Tensor:
    """In nats, along `dim`."""
    entropies: Tensor = torch.special.entr(distribution).sum(dim)
    return entropies


_CELLS = 2 * REACH // SPACING
"""Along a and along b."""


def _cell(values: Tensor) -> Tensor:
    return ((values + REACH) / SPACING).floor().long().clamp(0, _CELLS - 1)


def _near_cells(centres: Tensor) -> Tensor:
    """(cells, K) int64: for each cell the bins that aren't surely farther from all its colours than five others."""
    corner = torch.arange(_CELLS) * SPACING - REACH
    corners = torch.cartesian_prod(corner, corner)[:, None]
    beyond = torch.maximum(corners - centres, centres - corners - SPACING).clamp_min(0)
    farthest = torch.maximum((corners - centres).abs(), (centres - corners - SPACING).abs())
    squared, limit = beyond.square().sum(2), farthest.square().sum(2).kthvalue(NEIGHBOURS, dim=1).values
    most = int((squared <= limit[:, None]).sum(1).max())
    near: Tensor = squared.topk(most, dim=1, largest=False).indices
    return near
