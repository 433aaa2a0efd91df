import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import TypeAdapter, ValidationError
from torchvision.transforms import functional

from models.lab import rgb_to_lab
from models.pixels import IMAGENET_MEAN, IMAGENET_STD, ImagenetPixels, ImagePixels, LabPixels, LightnessPixels, Pixels


@given(arrays(np.uint8, (2, 3, 4, 5)), st.sampled_from([1.0, 50.0]))
def test_each_image_is_standardised_over_all_its_values(values: np.ndarray, std: float) -> None:
    images = torch.from_numpy(values)
    result = ImagePixels(std=std).apply(images)
    assert result.dtype == torch.float32
    for image, raw in zip(result, images, strict=True):
        assert float(image.mean()) == pytest.approx(0, abs=1e-4 * std)
        constant = bool((raw == raw.flatten()[0]).all())
        assert float(image.std(correction=0)) == pytest.approx(0 if constant else std, rel=1e-3, abs=1e-4 * std)


def test_imagenet_pixels_are_torchvisions() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    expected = functional.normalize(images.float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(ImagenetPixels().apply(images), expected)
    torch.testing.assert_close(ImagenetPixels().apply(images.float()), expected)


def test_lightness_pixels_hold_no_colour() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    values = LightnessPixels().apply(images)
    assert values.shape == (2, 3, 8, 8)
    for channel in values.unbind(1):
        torch.testing.assert_close(channel, (rgb_to_lab(images)[:, 0] - 50) / 25)


def test_lab_pixels_are_lab_scaled() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    scales = torch.tensor([25.0, 15.0, 15.0]).view(3, 1, 1)
    back = LabPixels().apply(images) * scales + torch.tensor([50.0, 0.0, 0.0]).view(3, 1, 1)
    torch.testing.assert_close(back, rgb_to_lab(images))


@pytest.mark.parametrize("pixels", [ImagePixels(std=50), ImagenetPixels(), LightnessPixels(), LabPixels()])
def test_channels_last_stays(pixels: Pixels) -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert pixels.apply(images).is_contiguous(memory_format=torch.channels_last)


def test_a_record_names_its_kind() -> None:
    adapter: TypeAdapter[Pixels] = TypeAdapter(Pixels)
    assert adapter.validate_json('{"kind": "image", "std": 50}') == ImagePixels(std=50)
    assert adapter.validate_json('{"kind": "lab"}') == LabPixels()
    with pytest.raises(ValidationError, match="kind"):
        adapter.validate_json('{"kind": "raw"}')
