"""A fixed sample of a dataset, for what a task must know of it beforehand."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from worker.data.loader import read_batch
from worker.data.store import ImageStore
from worker.stages.contract import Context, Stopped
from worker.stages.randomness import numpy_generator

SAMPLE = 1024
"""Images looked at, at most."""
BATCH = 64


def sampled_images(store: ImageStore, side: int, seed: int, context: Context) -> Iterator[Tensor]:
    """Batches uint8 (N, 3, side, side) of up to `SAMPLE` images, on the CPU. Raises `Stopped` when asked to stop."""
    count = min(SAMPLE, store.count)
    chosen = np.sort(numpy_generator(seed, "sample").choice(store.count, count, replace=False))
    for start in range(0, count, BATCH):
        if context.should_stop():
            raise Stopped
        yield read_batch(store, chosen[start : start + BATCH], side)
