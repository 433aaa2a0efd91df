"""Images that are looked at many times: kept on the device where they fit, else read ahead in a thread."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]
LIMIT = 8 << 30
"""Bytes that a cache may take at most; nor more than half of a GPU's free memory, or a quarter of the machine's own
(our choice)."""
_AHEAD = 2
_CHUNK = 256


class ImageCache:
    """`count` images of equal size. `read(rows)` gives those at `rows`, uint8 (N, channels, height, width), on the CPU.

    Where all fit into `limit` bytes on the device they are read once, at the first batch, and `read` is not called
    again: then batches are cut on the device. Both ways give the same batches.
    """

    def __init__(
        self,
        read: Callable[[Rows], Tensor],
        count: int,
        size: tuple[int, int],
        device: torch.device,
        limit: int = LIMIT,
        channels: int = 3,
    ) -> None:
        self.count = count
        self._read = read
        self._device = device
        self._shape = (count, channels, *size)
        self.fits = count * channels * size[0] * size[1] <= room(device, limit)
        self._images: Tensor | None = None

    def batches(self, rows: Iterable[Rows]) -> Iterator[Tensor]:
        """uint8 (N, channels, height, width) on the device, channels_last, for each array of rows, in order."""
        if not self.fits:
            yield from self._read_ahead(rows)
            return
        if self._images is None:
            self._images = self._all()
        for chosen in rows:
            yield self._images[torch.from_numpy(chosen).to(self._device, non_blocking=True)]

    def _all(self) -> Tensor:
        images = torch.empty(self._shape, dtype=torch.uint8, device=self._device, memory_format=torch.channels_last)
        start = 0
        for part in self._read_ahead(in_order(self.count, _CHUNK)):
            images[start : start + len(part)] = part
            start += len(part)
        return images

    def _read_ahead(self, rows: Iterable[Rows]) -> Iterator[Tensor]:
        waiting: deque[Future[Tensor]] = deque()
        remaining = iter(rows)
        reader = ThreadPoolExecutor(1, thread_name_prefix="image-cache")
        try:
            while True:
                while len(waiting) < _AHEAD and (chosen := next(remaining, None)) is not None:
                    waiting.append(reader.submit(self._read, chosen))
                if not waiting:
                    return
                batch = waiting.popleft().result()
                yield batch.to(self._device, memory_format=torch.channels_last)
        finally:
            reader.shutdown(cancel_futures=True)


def in_order(count: int, batch: int) -> Iterator[Rows]:
    """0 .. count - 1 in batches."""
    for start in range(0, count, batch):
        yield np.arange(start, min(count, start + batch), dtype=np.int64)


def room(device: torch.device, limit: int = LIMIT) -> int:
    """Bytes that images kept on the device may take."""
    return min(limit, _free(device))


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
