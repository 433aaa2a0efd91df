from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.worker.data.drawing import noise
from worker.data.loader import BatchLoader, read_batch
from worker.data.store import ImageStore, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    path = tmp_path_factory.mktemp("store")
    write_store(path, np.stack([np.asarray(noise(seed)) for seed in range(6)]), list("abcdef"), [None] * 6)
    return ImageStore.open(path)


def test_batch_holds_the_asked_images_in_the_asked_order(store: ImageStore) -> None:
    batch = read_batch(store, np.array([4, 1, 1]), store.side)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1), store.images[[4, 1, 1]])


@pytest.mark.parametrize("side", [16, 40, 64])
def test_other_sides_are_resized_with_antialiasing(store: ImageStore, side: int) -> None:
    batch = read_batch(store, np.array([2]), side)
    assert batch.shape == (1, 3, side, side)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    expected = np.asarray(Image.fromarray(store.images[2]).resize((side, side), Image.Resampling.BILINEAR))
    assert np.abs(batch[0].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def test_no_indices_give_an_empty_batch(store: ImageStore) -> None:
    assert read_batch(store, np.array([], np.int64), 40).shape == (0, 3, 40, 40)
    assert read_batch(store, np.array([], np.int64), 20).shape == (0, 3, 20, 20)


@given(batches=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=8), ahead=st.integers(1, 5))
def test_loader_yields_what_reading_each_batch_gives(store: ImageStore, batches: list[list[int]], ahead: int) -> None:
    loader = BatchLoader(store, (np.array(batch) for batch in batches), 20, ahead=ahead)
    loaded = list(loader)
    assert len(loaded) == len(batches)
    for batch, indices in zip(loaded, batches, strict=True):
        assert torch.equal(batch, read_batch(store, np.array(indices), 20))
    assert loader.wait_seconds >= 0


def test_an_error_in_the_background_reaches_the_consumer(store: ImageStore) -> None:
    with BatchLoader(store, [np.array([0]), np.array([99])], 20) as loader:
        next(loader)
        with pytest.raises(IndexError):
            next(loader)


def test_a_consumer_may_leave_an_endless_sequence(store: ImageStore) -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield np.array([0, 1])

    with BatchLoader(store, endless(), 20) as loader:
        next(loader)
    assert list(loader) == []
