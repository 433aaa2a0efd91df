"""Halving by a matrix product is what Pillow's resampling does."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from worker.config.pretext.counting import Filter
from worker.pretext.halving import halved, halving_matrices

PILLOW: dict[Filter, Image.Resampling] = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def _by_pillow(plane: torch.Tensor, method: Image.Resampling) -> torch.Tensor:
    half = len(plane) // 2
    resized = np.asarray(Image.fromarray(plane.numpy()).resize((half, half), method)).copy()
    return torch.from_numpy(resized).clamp(0, 255)


@pytest.mark.parametrize("side", [12, 42])
@pytest.mark.parametrize("name", PILLOW)
def test_each_filter_is_pillows(name: Filter, side: int) -> None:
    images = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0)) * 255
    found = halved(images, halving_matrices(side, [name]).expand(2, -1, -1))
    expected = [torch.stack([_by_pillow(plane, PILLOW[name]) for plane in image]) for image in images]
    torch.testing.assert_close(found, torch.stack(expected), atol=0.01, rtol=0)


def test_every_image_has_its_own_filter() -> None:
    names: Sequence[Filter] = ("lanczos", "box")
    matrices = halving_matrices(10, names)
    images = torch.rand((2, 3, 10, 10), generator=torch.Generator().manual_seed(0)) * 255
    both = halved(images, matrices)
    for one in range(2):
        assert torch.equal(both[one : one + 1], halved(images[one : one + 1], matrices[one : one + 1]))
