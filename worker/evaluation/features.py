"""Features of many images, computed once: in the device's memory where they fit, else in files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.clustering.rows import MATRIX, RowFile
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.evaluation.resize import How, resized
from worker.evaluation.taps import Shape, View

CHUNK = 1024
"""Rows looked at together where all are."""
HOST_BYTES = 2 << 30
"""Kept in memory on a CPU; a GPU keeps up to half of what is free."""


class Network(Protocol):
    """What gives the maps: `worker.stages.frozen.FrozenNetwork`, or a network in training that is looked at."""

    def taps(self, images: Tensor, names: Sequence[str], crop: int) -> dict[str, Tensor]: ...


class Features(Protocol):
    """`count` rows of `dim` values."""

    @property
    def count(self) -> int: ...

    @property
    def dim(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def rows_on(self) -> torch.device:
        """Where the rows that are asked for are best named, so that nothing waits for a copy of them."""

    def take(self, rows: Tensor) -> Tensor:
        """The rows at these positions, int64 on any device -> float32 (m, dim) on `device`, in memory of their own."""


class ResidentFeatures:
    """All rows in memory: float32 (count, dim) on its device."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.count, self.dim = values.shape
        self.device = self.rows_on = values.device

    def take(self, rows: Tensor) -> Tensor:
        return self.values.index_select(0, rows.to(self.device, non_blocking=True))

    def matrix(self) -> NDArray[Any]:
        return self.values.cpu().numpy()


class MappedFeatures:
    """Rows read from a file when asked for."""

    def __init__(self, matrix: NDArray[Any], device: torch.device) -> None:
        self.count, self.dim = matrix.shape
        self.device, self.rows_on = device, torch.device("cpu")
        self._matrix = matrix

    def take(self, rows: Tensor) -> Tensor:
        values = torch.from_numpy(self._matrix[rows.cpu().numpy()])
        return values.to(self.device, torch.float32, non_blocking=True)

    def matrix(self) -> NDArray[Any]:
        return self._matrix


StoredFeatures = ResidentFeatures | MappedFeatures


class StandardisedFeatures:
    """Rows less `mean`, times `scale`, `(dim,)` each, computed when asked for."""

    def __init__(self, features: Features, mean: Tensor, scale: Tensor) -> None:
        self.count, self.dim = features.count, features.dim
        self.device, self.rows_on = features.device, features.rows_on
        self._features, self._mean, self._scale = features, mean, scale

    def take(self, rows: Tensor) -> Tensor:
        return self._features.take(rows).sub_(self._mean).mul_(self._scale)


def in_chunks(features: Features, rows: Tensor) -> Iterator[Tensor]:
    for part in torch.split(rows, CHUNK):
        yield features.take(part)


def compute_features(
    network: Network,
    store: ImageStore,
    images: NDArray[np.int64],
    view: View,
    shapes: Mapping[str, Shape],
    how: How,
    batch: int,
    folder: Path,
    device: torch.device,
    after_batch: Callable[[], None],
    resident_bytes: int | None = None,
) -> dict[str, StoredFeatures]:
    """Every tap's maps of these images resized to its shape, in one pass; row i is image `images[i]`.

    float32, because an untrained network's deep maps can be too small for fp16. What does not fit into
    `resident_bytes` (None: 2 GiB on a CPU, half of the free memory of a GPU) goes to `folder/<tap>`.
    """
    sinks = _sinks(len(images), shapes, folder, device, resident_bytes)
    batches = [images[start : start + batch] for start in range(0, len(images), batch)]
    try:
        with BatchLoader(store, batches, view.side, device) as loader:
            for pixels in loader:
                for tap, maps in network.taps(pixels, list(shapes), view.crop).items():
                    sinks[tap].append(resized(maps, shapes[tap][1], how))
                after_batch()
    finally:
        for sink in sinks.values():
            sink.close()
    return {tap: sink.features() for tap, sink in sinks.items()}


def _sinks(
    count: int, shapes: Mapping[str, Shape], folder: Path, device: torch.device, resident_bytes: int | None
) -> "dict[str, _Memory | _File]":
    left = _free_bytes(device) if resident_bytes is None else resident_bytes
    sinks: dict[str, _Memory | _File] = {}
    for tap, (channels, height, width) in shapes.items():
        dim = channels * height * width
        fits = 4 * count * dim <= left
        sinks[tap] = _Memory(count, dim, device) if fits else _File(folder / tap, count, dim, device)
        left -= 4 * count * dim if fits else 0
    return sinks


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else HOST_BYTES


class _Memory:
    def __init__(self, count: int, dim: int, device: torch.device) -> None:
        self._values = torch.empty((count, dim), device=device)
        self._filled = 0

    def append(self, rows: Tensor) -> None:
        self._values[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)

    def close(self) -> None:
        pass

    def features(self) -> StoredFeatures:
        return ResidentFeatures(self._values)


class _File:
    def __init__(self, folder: Path, count: int, dim: int, device: torch.device) -> None:
        self._path, self._device = folder / MATRIX, device
        self._rows = RowFile(folder, (count, dim), np.float32, fingerprint="")

    def append(self, rows: Tensor) -> None:
        self._rows.append(rows.cpu().numpy())

    def close(self) -> None:
        self._rows.close()

    def features(self) -> StoredFeatures:
        return MappedFeatures(np.load(self._path, mmap_mode="r"), self._device)
