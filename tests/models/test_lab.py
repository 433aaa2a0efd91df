"""Against scikit-image's conversions."""

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from models.lab import lab_to_rgb, lightness, rgb_to_lab


def _colours() -> torch.Tensor:
    """uint8 (2, 3, 54, 54): every 15th level of each channel, black, white and the greys among them."""
    levels = torch.arange(0, 256, 15, dtype=torch.uint8)
    return torch.cartesian_prod(levels, levels, levels).view(2, 54, 54, 3).permute(0, 3, 1, 2)


def _by_skimage(images: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(rgb2lab(images.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2).float()


def test_lab_is_that_of_skimage() -> None:
    torch.testing.assert_close(rgb_to_lab(_colours()), _by_skimage(_colours()), atol=2e-3, rtol=0)


def test_floats_between_the_levels_convert_alike() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    expected = _by_skimage(images / 255)
    torch.testing.assert_close(rgb_to_lab(images), expected, atol=2e-3, rtol=0)


def test_lightness_alone_is_that_of_lab() -> None:
    torch.testing.assert_close(lightness(_colours()), rgb_to_lab(_colours())[:, :1])


def test_lab_leads_back_to_the_pixels() -> None:
    back = lab_to_rgb(rgb_to_lab(_colours()))
    torch.testing.assert_close(back, _colours().float(), atol=0.05, rtol=0)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_colours_outside_of_the_gamut_are_clipped_as_skimage_clips_them() -> None:
    lab = torch.tensor([[50.0, 90.0, -110.0], [20.0, -80.0, 80.0], [95.0, 60.0, 60.0]]).view(3, 3, 1, 1)
    expected = lab2rgb(lab.permute(0, 2, 3, 1).numpy().astype(np.float64)) * 255
    found = lab_to_rgb(lab).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, expected, atol=0.05)
