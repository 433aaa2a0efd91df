"""Colours as classes: the ab plane in bins (Zhang, Isola and Efros, ECCV 2016; SPEC section 10)."""

import math

import torch
from torch import Tensor

from models.lab import rgb_to_lab

SPACING = 10
"""Of the grid whose nodes are the bins' centres, in units of a and b."""
NEIGHBOURS = 5
SIGMA = 5.0
"""Of the Gaussian that spreads a colour over its nearest bins, in units of a and b."""


def ab_centres() -> Tensor:
    """float32 (313, 2), by a and then b: the nodes that bound a cell of the grid which sRGB's gamut touches.

    The gamut is taken as the convex hull of all colours' (a, b). A node belongs to such a cell where the hull comes
    nearer to it than `SPACING` in a and in b, that is where it lies in the hull enlarged by a square; convex sets are
    told apart by the directions they reach farthest in. This rule gives the published number of bins.
    """
    levels = torch.linspace(0, 255, 17)
    colours = torch.cartesian_prod(levels, levels, levels).view(-1, 3, 1, 1)
    angles = torch.arange(3600, dtype=torch.float64) * (math.pi / 1800)
    directions = torch.stack([angles.cos(), angles.sin()])
    reach = (rgb_to_lab(colours)[:, 1:, 0, 0].double() @ directions).amax(0) + SPACING * directions.abs().sum(0)
    axis = torch.arange(-110, 111, SPACING, dtype=torch.float64)
    nodes = torch.cartesian_prod(axis, axis)
    return nodes[(nodes @ directions < reach).all(1)].float()


def nearest_bins(ab: Tensor, centres: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(N, 2, h, w) -> the `count` nearest of `centres` (Q, 2) and their squared distances, (N, count, h, w) each.

    The nearest comes first.
    """
    colours = ab.permute(0, 2, 3, 1).unsqueeze(3)
    # Not by a matrix product: GPUs would round it to TF32.
    squared = (colours[..., 0] - centres[:, 0]).square() + (colours[..., 1] - centres[:, 1]).square()
    distances, bins = squared.topk(count, dim=3, largest=False)
    return bins.permute(0, 3, 1, 2), distances.permute(0, 3, 1, 2)


def soft_bins(ab: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 2, h, w) -> the five nearest bins, int64, and their shares, float32 with sum 1: (N, 5, h, w) each."""
    bins, squared = nearest_bins(ab, centres, NEIGHBOURS)
    return bins, torch.softmax(squared / (-2 * SIGMA**2), dim=1)


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
