"""A row of values for every image of a store, streamed to a file; an interrupted making goes on where it stopped."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.clustering.features import FeatureType
from worker.clustering.rows import RowFile
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.stages.contract import Context, Stopped

SAVE_SECONDS = 20
"""Time between the points an interrupted making goes on from; no effect on results."""


def write_rows(
    rows: RowFile, store: ImageStore, side: int, batch: int, compute: Callable[[Tensor], NDArray[Any]], context: Context
) -> None:
    """Append `compute(images)` for what is missing in `rows`; `images` is uint8 (N, 3, side, side) on the device.

    Raises `Stopped`, after saving, when asked to stop.
    """
    # Whole batches only: another batching could round differently.
    rows.truncate(rows.count // batch * batch)
    saved = time.monotonic()
    with BatchLoader(store, _batches(rows.count, store.count, batch), side, context.device) as batches:
        for images in batches:
            rows.append(compute(images))
            context.progress(rows.count, store.count, "images")
            stopping = rows.count < store.count and context.should_stop()
            if stopping or time.monotonic() - saved > SAVE_SECONDS:
                rows.save()
                saved = time.monotonic()
            if stopping:
                raise Stopped


def stored(values: Tensor, dtype: FeatureType) -> NDArray[np.floating[Any]]:
    """Values as they are written: in fp16 limited to its finite range, +-65504."""
    if dtype == "fp32":
        return values.float().cpu().numpy()
    limit = torch.finfo(torch.float16).max
    return values.clamp(-limit, limit).half().cpu().numpy()


def numpy_type(dtype: FeatureType) -> type[np.floating[Any]]:
    return np.float16 if dtype == "fp16" else np.float32


def _batches(start: int, count: int, batch: int) -> Iterator[NDArray[np.int64]]:
    for first in range(start, count, batch):
        yield np.arange(first, min(first + batch, count))
