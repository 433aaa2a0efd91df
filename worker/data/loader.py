"""Batches of pixels from the image store: the host only copies bytes, all else happens on the device."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from worker.data.resident import resident_images
from worker.data.store import ImageStore


def read_batch(store: ImageStore, indices: NDArray[np.integer[Any]], side: int) -> Tensor:
    """The images at `indices`: uint8 (N, 3, side, side), channels_last, on the CPU.

    Where `side` is not the store's, they are resized bilinearly with antialiasing.
    """
    batch = torch.from_numpy(store.images[np.asarray(indices, dtype=np.int64)]).permute(0, 3, 1, 2)
    if side == store.side or len(batch) == 0:
        return batch if side == store.side else batch.new_empty((0, 3, side, side))
    resized = functional.interpolate(batch, size=(side, side), mode="bilinear", antialias=True)
    return resized.contiguous(memory_format=torch.channels_last)


class BatchLoader(Iterator[Tensor]):
    """Yields `read_batch` of each index array in order, on `device`, reading ahead in a background thread.

    On CUDA all images lie on the device where a quarter of its free memory holds them; else their bytes go through
    pinned memory in a stream of their own, so that copying overlaps computing.
    `wait_seconds` is the time the consumer spent waiting: the data-wait share of a training.
    """

    def __init__(
        self,
        store: ImageStore,
        batches: Iterable[NDArray[np.integer[Any]]],
        side: int,
        device: str | torch.device = "cpu",
        ahead: int = 2,
    ) -> None:
        self.wait_seconds = 0.0
        self._store = store
        self._side = side
        self._device = torch.device(device)
        self._batches = iter(batches)
        on_cuda = self._device.type == "cuda"
        self._resident = resident_images(store, side, self._device) if on_cuda and store.count else None
        self._stream = torch.cuda.Stream(self._device) if on_cuda else None  # type: ignore[no-untyped-call]
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="batch-loader")
        self._pending: deque[Future[tuple[Tensor, torch.cuda.Event | None]]] = deque()
        for _ in range(max(1, ahead)):
            self._read_ahead()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __next__(self) -> Tensor:
        if not self._pending:
            self.close()
            raise StopIteration
        started = time.perf_counter()
        batch, copied = self._pending.popleft().result()
        self.wait_seconds += time.perf_counter() - started
        self._read_ahead()
        if copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(copied)
            batch.record_stream(current)
        return batch

    def close(self) -> None:
        """Stop reading ahead; for consumers that leave before the end."""
        self._pending.clear()
        self._reader.shutdown(cancel_futures=True)

    def _read_ahead(self) -> None:
        indices = next(self._batches, None)
        if indices is None:
            return
        if self._resident is None:
            self._pending.append(self._reader.submit(self._load, indices))
        else:
            gathered: Future[tuple[Tensor, torch.cuda.Event | None]] = Future()
            gathered.set_result(self._load(indices))
            self._pending.append(gathered)

    def _load(self, indices: NDArray[np.integer[Any]]) -> tuple[Tensor, torch.cuda.Event | None]:
        if self._resident is not None:
            rows = torch.from_numpy(np.asarray(indices, dtype=np.int64)).to(self._device, non_blocking=True)
            return self._resident.index_select(0, rows).permute(0, 3, 1, 2), None
        batch = read_batch(self._store, indices, self._side)
        if self._stream is None:
            return batch.to(self._device), None
        with torch.cuda.stream(self._stream):
            on_device = batch.pin_memory().to(self._device, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._stream)
        return on_device, copied
