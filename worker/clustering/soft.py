"""How much an image belongs to each of its nearest clusters."""

import numpy as np
import torch
from numpy.typing import NDArray

from worker.config.reasons import Reason
from worker.stages.contract import StageError

COMPARED = 1 << 24
"""Distances at a time: 64 MiB."""


class SeveralNearest:
    """Exact search for several centres, by torch on a stage's device."""

    def __init__(self, centres: NDArray[np.float32], device: str) -> None:
        self._centres = torch.from_numpy(centres).to(device)
        self._squares = self._centres.square().sum(1)

    def find(self, points: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """The `count` centres nearest to each of `(m, dim)` points: `(m, count)`, the nearest first.

        Raises `StageError(artifact_corrupt)` for points that aren't finite numbers.
        """
        step = max(1, COMPARED // len(self._centres))
        parts = [self._find(points[start : start + step], count) for start in range(0, len(points), step)]
        return np.concatenate(parts)

    def _find(self, points: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        on_device = torch.from_numpy(np.ascontiguousarray(points)).to(self._centres.device)
        # |x|^2 is the same for all centres.
        distances = torch.addmm(self._squares, on_device, self._centres.T, alpha=-2)
        if not bool(distances.isfinite().all()):
            raise StageError(Reason.artifact_corrupt, "The features hold values that aren't finite numbers.")
        if not bool(distances.isfinite().all()):
            raise StageError(Reason.artifact_corrupt, "The features hold values that aren't finite numbers.")
        found: NDArray[np.int64] = distances.topk(count, largest=False).indices.cpu().numpy()
        return found


def soft_weights(squared: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Squared distances `(n, m)`, the nearest first -> shares `(n, m)` that sum to 1 in each row.

    A centre whose squared distance exceeds the nearest's by the share `temperature` weighs 1/e of it (our choice): free
    of scale, and the same for an image whatever the others are. An image on a centre belongs to it alone.
    """
    nearest = np.maximum(squared[:, :1].astype(np.float64), np.finfo(np.float32).tiny)
    excess = np.maximum(squared - nearest, 0) / nearest
    weights = np.exp(-excess / temperature)
    shares: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
