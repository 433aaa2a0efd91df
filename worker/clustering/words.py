"""Bags of visual words: descriptors' nearest words of a codebook, counted over a pyramid of image parts."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.clustering.features import Points
from worker.clustering.kmeans import OnIteration, kmeans
from worker.clustering.nearest import NearestCentre
from worker.config.reasons import Reason
from worker.stages.contract import StageError

COMPARED = 1 << 24
"""Distances at a time: 64 MiB."""


def learn_codebook(
    descriptors: NDArray[np.float32],
    words: int,
    iterations: int,
    generator: np.random.Generator,
    device: str,
    on_iteration: OnIteration,
) -> NDArray[np.float32]:
    """`(n, dim)` descriptors -> `(words, dim)` by k-means. Raises `StageError(k_too_large)` where too few differ."""
    points = Points(descriptors)
    search = NearestCentre(points.dim, device)
    try:
        return kmeans(points, words, iterations, generator, search, on_iteration).centres
    except StageError as error:
        if error.reason is not Reason.k_too_large:
            raise
        message = f"A codebook of {words} words can't be made of {len(descriptors)} descriptors, as too few of them "
        raise StageError(Reason.k_too_large, message + "differ: choose fewer `words`.") from error


class Codebook:
    """Words on a device."""

    def __init__(self, words: NDArray[np.float32], device: torch.device) -> None:
        self._words = torch.from_numpy(words).to(device)
        self._squares = self._words.square().sum(1)

    def nearest(self, descriptors: Tensor) -> Tensor:
        """(n, dim) -> int64 (n,): the Euclidean nearest word."""
        pieces = torch.split(descriptors, max(1, COMPARED // len(self._words)))
        # |x|^2 is the same for all words.
        return torch.cat([torch.addmm(self._squares, piece, self._words.T, alpha=-2).argmin(1) for piece in pieces])

    def bags(self, descriptors: Tensor, pyramid: Sequence[int]) -> Tensor:
        """(N, rows, columns, dim) -> float32 (N, words * sum of levels squared), of unit length.

        For each level `p` the counts in `p` x `p` parts, row by row, under a square root (Hellinger); as every level
        counts every descriptor once, all levels weigh the same.
        """
        count, rows, columns = descriptors.shape[:3]
        words = self.nearest(descriptors.flatten(0, 2)).view(count, rows * columns)
        counts = [self._counts(words, parts_of(rows, columns, level), level) for level in pyramid]
        bags = torch.cat(counts, dim=1).sqrt()
        unit: Tensor = bags / bags.norm(dim=1, keepdim=True)
        return unit

    def _counts(self, words: Tensor, parts: Tensor, level: int) -> Tensor:
        """(N, n) words and the (n,) parts they lie in -> (N, level * level * words) counts."""
        places = parts.to(words.device) * len(self._words) + words
        counts = torch.zeros(len(words), level * level * len(self._words), device=words.device)
        # Sums of ones are exact in float32, whatever their order.
        return counts.scatter_add_(1, places, torch.ones_like(places, dtype=torch.float32))


def parts_of(rows: int, columns: int, level: int) -> Tensor:
    """int64 (rows * columns,): which of `level` x `level` parts each place of a grid lies in, on the CPU."""
    down = torch.arange(rows) * level // rows
    across = torch.arange(columns) * level // columns
    return (down[:, None] * level + across).flatten()
