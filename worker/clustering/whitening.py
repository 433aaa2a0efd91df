"""PCA whitening: features on their principal components, each with unit variance (a switch; the paper has none)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.config.reasons import Reason
from worker.stages.contract import StageError

SAMPLE = 8192
"""Our choice: the components are those of at most this many points. Bounds time and memory (512 MiB of products)."""
LEAST_VARIANCE = 1e-6
"""Of the largest component's: what varies less is rounding."""
MEAN, PROJECTION = "mean.npy", "projection.npy"


@dataclass(frozen=True)
class Whitening:
    mean: NDArray[np.float32]
    """(dim,)."""
    projection: NDArray[np.float32]
    """(dim, components)."""

    @property
    def components(self) -> int:
        return int(self.projection.shape[1])

    def apply(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(m, dim) -> (m, components)."""
        return np.asarray((points - self.mean) @ self.projection, dtype=np.float32)

    def save(self, folder: Path) -> None:
        np.save(folder / MEAN, self.mean)
        np.save(folder / PROJECTION, self.projection)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises OSError or ValueError."""
        return cls(np.load(folder / MEAN), np.load(folder / PROJECTION))


def learn_whitening(points: NDArray[np.float32], components: int, device: str) -> Whitening:
    """The `components` of most variance of `(n, dim)` points, the largest first.

    Raises `StageError(bad_config)` where the points vary in fewer directions.
    """
    rows = torch.from_numpy(points).to(device, torch.float64)
    mean = rows.mean(0)
    variances, directions = _principal(rows - mean)
    found = int((variances > LEAST_VARIANCE * variances[0]).sum()) if float(variances[0]) > 0 else 0
    if found < components:
        message = (
            f"`whiten` asks for {components} components, but the features of {len(points)} images vary in {found}."
        )
        raise StageError(Reason.bad_config, message)
    projection = directions[:, :components] / variances[:components].sqrt()
    return Whitening(mean.float().cpu().numpy(), projection.float().cpu().numpy())


def _principal(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Variances `(r,)`, the largest first, and unit directions `(dim, r)` of `(n, dim)` rows, r = min(n, dim)."""
    count, dim = centred.shape
    few = count < dim
    # Products of the points have the covariance's eigenvalues, and are fewer where points are.
    products = centred @ centred.T if few else centred.T @ centred
    values, vectors = torch.linalg.eigh(products / max(1, count - 1))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    directions = centred.T @ vectors if few else vectors
    directions = directions / directions.norm(dim=0).clamp_min(torch.finfo(directions.dtype).tiny)
    return values, directions * _signs(directions)


def _signs(directions: Tensor) -> Tensor:
    """A direction and its opposite are the same to PCA: the largest entry decides, so that every machine agrees."""
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return torch.where(largest < 0, -1.0, 1.0)
