import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.feature import hog
from torch import Tensor

from tests.worker.stages.striped import striped_images
from worker.clustering.hog import blocks_per_side, grey, hog_blocks


def by_scikit_image(image: Tensor, cell: int, block: int, orientations: int) -> NDArray[np.float64]:
    """(rows, columns, block * block * orientations)."""
    sizes = {"pixels_per_cell": (cell, cell), "cells_per_block": (block, block)}
    blocks = hog(image.double().numpy(), orientations, block_norm="L2-Hys", feature_vector=False, **sizes)
    return blocks.reshape(*blocks.shape[:2], -1)


@pytest.mark.parametrize(("cell", "block", "orientations"), [(8, 2, 9), (6, 3, 8), (5, 1, 7)])
def test_blocks_are_those_of_scikit_image(cell: int, block: int, orientations: int) -> None:
    images = torch.rand(3, 50, 67, generator=torch.Generator().manual_seed(0))
    found = hog_blocks(images, cell, block, orientations)
    for image, blocks in zip(images, found, strict=True):
        np.testing.assert_allclose(blocks.numpy(), by_scikit_image(image, cell, block, orientations), atol=1e-5)


def test_photographs_flat_regions_included_give_the_same_blocks() -> None:
    """Gradients of whole grey levels lie on the borders of directions again and again; flat cells have none at all."""
    images = torch.from_numpy(striped_images(4, 64)).permute(0, 3, 1, 2)
    images[:, :, :24, :24] = 77
    found = hog_blocks(grey(images), 8, 2, 9)
    for image, blocks in zip(grey(images), found, strict=True):
        np.testing.assert_allclose(blocks.numpy(), by_scikit_image(image, 8, 2, 9), atol=1e-5)
    assert found[:, 0, 0].abs().max() == 0


def test_a_gradient_votes_for_its_own_direction() -> None:
    """Brightness that rises from left to right points along 0 degrees, from top to bottom along 90."""
    ramp = torch.arange(16).float().expand(16, 16) / 16
    across, down = hog_blocks(torch.stack([ramp, ramp.T]), 8, 2, 4).reshape(2, 4, 4)
    assert across.argmax(1).tolist() == [0] * 4
    assert down.argmax(1).tolist() == [2] * 4


def test_the_opposite_gradient_is_the_same_direction() -> None:
    images = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(hog_blocks(1 - images, 8, 2, 9), hog_blocks(images, 8, 2, 9), atol=1e-4, rtol=0)


def test_grey_is_scikit_image_s() -> None:
    images = torch.from_numpy(striped_images(2, 36))
    np.testing.assert_allclose(grey(images.permute(0, 3, 1, 2)).numpy(), rgb2gray(images.numpy()), atol=1e-6)


@pytest.mark.parametrize(("crop", "cell", "block", "blocks"), [(224, 8, 2, 27), (30, 8, 2, 2), (15, 8, 2, 0)])
def test_blocks_per_side(crop: int, cell: int, block: int, blocks: int) -> None:
    assert blocks_per_side(crop, cell, block) == blocks
    if blocks:
        assert hog_blocks(torch.zeros(1, crop, crop), cell, block, 9).shape == (1, blocks, blocks, block**2 * 9)


def test_blocks_are_short_and_their_values_clipped() -> None:
    blocks = hog_blocks(torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(2)), 8, 2, 9)
    assert blocks.min() >= 0
    assert math.isclose(blocks.norm(dim=-1).max().item(), 1, rel_tol=1e-4)
