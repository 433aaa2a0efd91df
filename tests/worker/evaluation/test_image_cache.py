import numpy as np
import torch
from torch import Tensor

from worker.evaluation.image_cache import ImageCache, Rows, in_order

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (30, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ROWS = [np.array([3, 3, 29]), np.array([0]), np.array([7, 1, 12, 5])]


class Reader:
    def __init__(self) -> None:
        self.read = 0

    def __call__(self, rows: Rows) -> Tensor:
        self.read += len(rows)
        return IMAGES[rows]


def test_gives_the_same_batches_whether_all_fit_or_none() -> None:
    for limit in (0, 1 << 20):
        cache = ImageCache(Reader(), 30, (4, 6), CPU, limit)
        assert cache.fits == (limit > 0)
        for batch, rows in zip(cache.batches(ROWS), ROWS, strict=True):
            assert torch.equal(batch, IMAGES[rows])


def test_what_fits_is_read_once() -> None:
    reader = Reader()
    cache = ImageCache(reader, 30, (4, 6), CPU)
    for _ in range(3):
        assert len(list(cache.batches(ROWS))) == 3
    assert reader.read == 30


def test_what_does_not_fit_is_read_when_asked_for_and_little_ahead() -> None:
    reader = Reader()
    batches = ImageCache(reader, 30, (4, 6), CPU, limit=0).batches(in_order(30, 1))
    next(batches)
    batches.close()
    assert 1 <= reader.read <= 3


def test_in_order_names_every_row_once() -> None:
    assert [list(rows) for rows in in_order(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
