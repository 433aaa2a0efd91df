"""All taps of one network for many images, in one pass, kept in files until they are probed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.backbone import map_shape
from models.config import BackboneConfig
from worker.clustering.rows import MATRIX, RowFile
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.stages.frozen import FrozenNetwork


@dataclass(frozen=True)
class View:
    """What a network sees of an image: resized to `side`, centre crop of `crop` pixels."""

    side: int
    crop: int


def pooled_shape(config: BackboneConfig, tap: str, crop: int, max_dims: int) -> tuple[int, int, int]:
    """(channels, p, p) after average pooling: the largest square of at most `max_dims` values, at least 1 x 1.

    At 9600 these are SPEC 8.4's 9600/9216/9600/9600/9216 for the full-size AlexNet.
    """
    channels, height, width = map_shape(config, crop, tap)
    pool = max(1, min(height, width, int((max_dims / channels) ** 0.5)))
    return channels, pool, pool


def write_taps(
    folder: Path,
    network: FrozenNetwork,
    store: ImageStore,
    batches: Sequence[NDArray[np.int64]],
    view: View,
    shapes: Mapping[str, tuple[int, int, int]],
    device: torch.device,
    after_batch: Callable[[], None],
) -> None:
    """One file of float32 rows per tap, `folder/<tap>`, in the order of the images in `batches`.

    float32, because an untrained network's deep maps can be too small for fp16.
    """
    count = sum(len(batch) for batch in batches)
    files = {tap: RowFile(folder / tap, (count, math.prod(shapes[tap])), np.float32, fingerprint="") for tap in shapes}
    try:
        with BatchLoader(store, batches, view.side, device) as loader:
            for pixels in loader:
                for tap, maps in network.taps(pixels, shapes, view.crop).items():
                    files[tap].append(average_pooled(maps, shapes[tap][1]).cpu().numpy())
                after_batch()
    finally:
        for file in files.values():
            file.close()


def average_pooled(maps: Tensor, pool: int) -> Tensor:
    """(N, C, h, w) -> float32 (N, C * pool * pool)."""
    return functional.adaptive_avg_pool2d(maps.float(), pool).flatten(1)


def read_tap(folder: Path, tap: str, device: torch.device) -> Tensor:
    """The rows of one tap, float32 (n, dim), in memory of their own."""
    return torch.from_numpy(np.load(folder / tap / MATRIX)).to(device)


def in_batches(images: NDArray[np.int64], batch: int) -> list[NDArray[np.int64]]:
    return [images[start : start + batch] for start in range(0, len(images), batch)]
