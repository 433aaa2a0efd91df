"""Nearest centres on a CUDA device without faiss's GPU build, which PyPI has not."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CELLS = 1 << 26
"""Distances held at a time (our choice): 256 MB of float32."""


class CudaSearch:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._centres = torch.empty(0)
        self._squares = torch.empty(0)

    def place(self, centres: NDArray[np.float32]) -> None:
        self._centres = torch.from_numpy(np.ascontiguousarray(centres)).to(self._device)
        self._squares = self._centres.square().sum(1)

    def find(self, points: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Index of the nearest centre, -1 for points that aren't finite, and squared distance, `(m,)` each."""
        rows = max(1, _CELLS // len(self._centres))
        found = [self._nearest(points[start : start + rows]) for start in range(0, len(points), rows)]
        labels, squared = (torch.cat(part) for part in zip(*found, strict=True))
        return labels.cpu().numpy(), squared.cpu().numpy()

    def _nearest(self, points: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(np.ascontiguousarray(points)).to(self._device)
        squared = torch.addmm(self._squares, rows, self._centres.T, alpha=-2)
        least = squared.amin(1)
        # argmin doesn't say which of equals it takes; the lowest index is what the CPU search gives.
        numbers = torch.arange(squared.shape[1], device=self._device)
        labels = torch.where(squared == least[:, None], numbers, squared.shape[1]).amin(1)
        least = least + rows.square().sum(1)
        return torch.where(least.isfinite(), labels, -1), least
