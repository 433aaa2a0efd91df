"""The nearest centre of every point: by faiss on the CPU or a GPU, or by torch on a GPU that faiss can't use."""

import re
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from worker.clustering.cuda_search import CudaSearch
from worker.clustering.features import Points
from worker.config.reasons import Reason
from worker.stages.contract import StageError


class NearestCentre:
    """Exact search by Euclidean distance; `device` is a stage's (`cpu`, `cuda`, `cuda:N`)."""

    def __init__(self, dim: int, device: str = "cpu") -> None:
        self._cuda: CudaSearch | None = None
        self._index: Any = faiss.IndexFlatL2(dim)
        self.engine = "faiss on the CPU"
        if device.startswith("cuda") and not hasattr(faiss, "StandardGpuResources"):
            self._cuda = CudaSearch(torch.device(device))
            self.engine = "torch on the GPU"
        elif device.startswith("cuda"):
            number = int(re.sub(r"\D", "", device) or 0)
            # The index only borrows the resources: they have to live as long as it does.
            self._resources = faiss.StandardGpuResources()
            self._index = faiss.index_cpu_to_gpu(self._resources, number, self._index)
            self.engine = f"faiss on GPU {number}"

    def place(self, centres: NDArray[np.float32]) -> None:
        if self._cuda is not None:
            self._cuda.place(centres)
            return
        self._index.reset()
        self._index.add(np.ascontiguousarray(centres))

    def find(self, points: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Index of the nearest centre and squared distance, `(m,)` each; equally near: the lowest index.

        The distances carry the rounding of |x|² - 2xc + |c|²: good for comparing, not near zero.
        Raises `StageError(artifact_corrupt)` for points that aren't finite numbers.
        """
        if self._cuda is not None:
            labels, squared = self._cuda.find(points)
        else:
            squared, labels = (part[:, 0] for part in self._index.search(np.ascontiguousarray(points), 1))
        if labels.size and labels.min() < 0:
            raise StageError(Reason.artifact_corrupt, "The features hold values that aren't finite numbers.")
        return labels, np.maximum(squared, 0)


def squared_distances(
    points: NDArray[np.float32], centres: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Squared Euclidean distance of each point to its own centre, `(m,)`, exact near zero too."""
    apart = points - centres[labels]
    result: NDArray[np.float32] = np.einsum("ij,ij->i", apart, apart)
    return result


def assign(
    points: Points, centres: NDArray[np.float32], search: NearestCentre
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Nearest centre of every point and the squared distance to it, `(count,)` each."""
    search.place(centres)
    labels = np.empty(points.count, np.int64)
    squared = np.empty(points.count, np.float32)
    for part, chunk in points.chunks():
        labels[part], _ = search.find(chunk)
        squared[part] = squared_distances(chunk, centres, labels[part])
    return labels, squared
