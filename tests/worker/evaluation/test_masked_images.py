from pathlib import Path

import numpy as np
import pytest
import torch

from models.pixels import ImagePixels
from worker.data.annotated import AnnotatedStore, write_annotated_store
from worker.evaluation.masked_images import MIN_SIDE, MaskedImages, Window, at_least, shown
from worker.stages.randomness import torch_generator

CPU = torch.device("cpu")
SIZES = {"1": (20, 30), "2": (40, 10)}
"""(height, width)."""


@pytest.fixture
def store(tmp_path: Path) -> AnnotatedStore:
    generator = np.random.default_rng(0)
    images = {id: generator.integers(0, 256, (*size, 3), dtype=np.uint8) for id, size in SIZES.items()}
    masks = {id: generator.choice(np.array([0, 1, 2, 255], np.uint8), size) for id, size in SIZES.items()}
    write_annotated_store(tmp_path, images, {"train": list(SIZES)}, None, masks, ["background", "cat", "dog"])
    return AnnotatedStore.open(tmp_path)


@pytest.fixture
def images(store: AnnotatedStore) -> MaskedImages:
    """Dogs are class 1, cats are void."""
    targets = torch.full((256,), 255, dtype=torch.uint8)
    targets[0], targets[2] = 0, 1
    return MaskedImages(store, [0, 1], targets, CPU)


def canvases(images: MaskedImages) -> torch.Tensor:
    return next(images.batches([np.array([0, 1])]))


def test_canvases_hold_photographs_and_the_wanted_classes(store: AnnotatedStore, images: MaskedImages) -> None:
    read = canvases(images)
    assert read.shape == (2, 4, 40, 30)
    for row, (height, width) in enumerate(SIZES.values()):
        mask = store.mask(row)
        assert mask is not None
        assert torch.equal(read[row, :3, :height, :width], store.read(row))
        expected = torch.where(mask == 0, 0, torch.where(mask == 2, 1, 255))
        assert torch.equal(read[row, 3, :height, :width].int(), expected.int())
        assert set(read[row, 3, height:].flatten().tolist()) <= {255}
        assert set(read[row, 3, :, width:].flatten().tolist()) <= {255}


def test_a_window_is_normalised_by_itself_and_surrounded_by_void(store: AnnotatedStore, images: MaskedImages) -> None:
    windows = [Window(2, 3, 10, 12, mirrored=True), images.whole(1)]
    inputs, targets = shown(canvases(images), windows, (64, 70), ImagePixels())
    assert (inputs.shape, targets.shape, targets.dtype) == ((2, 3, 64, 70), (2, 64, 70), torch.int64)
    cut = store.read(0)[None, :, 2:12, 3:15].flip(-1)
    torch.testing.assert_close(inputs[:1, :, :10, :12], ImagePixels().apply(cut))
    assert float(inputs[0, :, 10:].abs().sum() + inputs[0, :, :, 12:].abs().sum()) == 0
    assert torch.equal(targets[0, :10, :12].byte(), canvases(images)[0, 3, 2:12, 3:15].flip(-1))
    assert set(targets[1, 40:].flatten().tolist()) == {255}


def test_random_windows_lie_within_the_photograph_and_reach_its_edges(images: MaskedImages) -> None:
    found = [images.random_window(0, 16, True, torch_generator(0, "windows", step)) for step in range(300)]
    assert {(window.height, window.width) for window in found} == {(16, 16)}
    assert {window.top for window in found} == set(range(20 - 16 + 1))
    assert {window.left for window in found} == set(range(30 - 16 + 1))
    assert 100 < sum(window.mirrored for window in found) < 200
    tall = images.random_window(1, 16, False, torch_generator(0, "windows"))
    assert (tall.height, tall.width, tall.left, tall.mirrored) == (16, 10, 0, False)


def test_without_a_crop_windows_are_whole(images: MaskedImages) -> None:
    assert images.random_window(1, None, False, torch_generator(0, "windows")) == images.whole(1)


def test_nothing_is_shown_that_is_smaller_than_networks_see() -> None:
    assert (at_least((20, 500)), at_least((64, 64))) == ((MIN_SIDE, 500), (64, 64))
