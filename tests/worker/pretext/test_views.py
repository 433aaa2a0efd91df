"""A view against torchvision's own transforms, and pixel by pixel."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import functional as reference

from worker.config.pretext.simclr import SimclrConfig
from worker.pretext.views import ViewPlan, blurred, draw_views, hue_turns, recoloured, resized_crops, views

SIDE, CROP = 32, 32


def _unchanged(count: int = 2) -> ViewPlan:
    """Views that show their whole images as they are."""
    ones, zeros = torch.ones(count), torch.zeros(count)
    return ViewPlan(
        corner=torch.zeros(count, 2),
        size=torch.full((count, 2), float(SIDE)),
        mirrored=torch.zeros(count, dtype=torch.bool),
        brightness=ones,
        contrast=ones,
        saturation=ones,
        hue=zeros,
        sigma=zeros,
    )


def _with(**drawn: Tensor) -> ViewPlan:
    return dataclasses.replace(_unchanged(), **drawn)


def _images(low: float = 0, high: float = 255) -> Tensor:
    return torch.rand((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)) * (high - low) + low


def test_a_view_with_nothing_drawn_is_the_image() -> None:
    images = _images()
    torch.testing.assert_close(views(images, _unchanged(), CROP), images, atol=1e-2, rtol=0)


def test_a_mirrored_view_is_the_image_from_right_to_left() -> None:
    images = _images()
    found = views(images, _with(mirrored=torch.tensor([True, False])), CROP)
    torch.testing.assert_close(found[0], images[0].flip(-1), atol=1e-2, rtol=0)
    torch.testing.assert_close(found[1], images[1], atol=1e-2, rtol=0)


def test_a_rectangle_is_resampled_as_torchvision_does() -> None:
    """Enlarged, since there antialiasing doesn't tell; away from the rectangle's edges, where neighbours differ."""
    images = _images()
    plan = _with(corner=torch.tensor([[4.0, 10.0], [0.0, 0.0]]), size=torch.tensor([[16.0, 8.0], [32.0, 32.0]]))
    found = resized_crops(images, plan, CROP)[0]
    expected = reference.resized_crop(images[0], 4, 10, 16, 8, [CROP, CROP], antialias=False)
    torch.testing.assert_close(found[:, 2:-2, 4:-4], expected[:, 2:-2, 4:-4], atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("name", "drawn", "by_reference"),
    [
        ("brightness", 1.4, reference.adjust_brightness),
        ("contrast", 0.6, reference.adjust_contrast),
        ("saturation", 1.3, reference.adjust_saturation),
        ("saturation", 0.0, reference.adjust_saturation),
        ("hue", 1 / 3, reference.adjust_hue),
        ("hue", -1 / 3, reference.adjust_hue),
    ],
)
def test_colours_change_as_torchvisions(name: str, drawn: float, by_reference: object) -> None:
    """On values in the middle, where nothing is clamped; thirds of the circle are where every hue turn must agree."""
    images = _images(90, 150)
    assert callable(by_reference)
    amount = -drawn if name == "hue" and abs(drawn) > 0.5 else drawn
    expected = by_reference(images / 255, amount) * 255
    found = recoloured(images, _with(**{name: torch.full((2,), drawn)}))
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


def test_changes_of_colour_follow_each_other() -> None:
    images = _images(100, 140)
    drawn = {"brightness": 1.2, "contrast": 0.7, "saturation": 0.5, "hue": 1 / 3}
    found = recoloured(images, _with(**{name: torch.full((2,), value) for name, value in drawn.items()}))
    expected = reference.adjust_contrast(reference.adjust_brightness(images / 255, 1.2), 0.7)
    expected = reference.adjust_hue(reference.adjust_saturation(expected, 0.5), 1 / 3) * 255
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


@given(st.floats(-1, 1))
@settings(max_examples=50, deadline=None)
def test_turning_hues_keeps_greys_and_lengths(hue: float) -> None:
    (turn,) = hue_turns(torch.tensor([hue]))
    torch.testing.assert_close(turn @ torch.ones(3), torch.ones(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(turn @ hue_turns(torch.tensor([-hue]))[0], torch.eye(3), atol=1e-5, rtol=0)


def test_each_view_is_blurred_by_its_own_gaussian() -> None:
    images = torch.rand((2, 3, 224, 224), generator=torch.Generator().manual_seed(0)) * 255
    sigma = torch.tensor([0.7, 2.0])
    found = blurred(images, sigma)
    for one, (image, deviation) in enumerate(zip(images, sigma.tolist(), strict=True)):
        expected = reference.gaussian_blur(image, [13, 13], [deviation, deviation])
        torch.testing.assert_close(found[one, :, 6:-6, 6:-6], expected[:, 6:-6, 6:-6], atol=0.01, rtol=0)


def test_a_point_is_spread_over_three_deviations() -> None:
    image = torch.zeros(1, 3, 224, 224)
    image[:, :, 100, 100] = 255
    found = blurred(image, torch.tensor([2.0]))[0, 0]
    assert float(found.sum()) == pytest.approx(255, rel=1e-3)
    assert float(found[100, 100]) == pytest.approx(255 / (2 * math.pi * 4), rel=0.01)
    assert float(found[100, 102] / found[100, 100]) == pytest.approx(math.exp(-0.5), rel=1e-3)


def test_only_the_drawn_views_are_blurred() -> None:
    images = _images()
    found = views(images, _with(sigma=torch.tensor([0.0, 0.28])), CROP)
    torch.testing.assert_close(found[0], images[0], atol=1e-2, rtol=0)
    assert float((found[1] - images[1]).abs().max()) > 0.1


def test_what_is_drawn_keeps_to_the_config() -> None:
    config = SimclrConfig(min_area=0.25).resolved(64)
    plan = draw_views(config, 4000, torch.Generator().manual_seed(0))
    assert bool(((plan.corner >= 0) & (plan.corner + plan.size <= 64 + 1e-3)).all())
    area = plan.size.prod(1) / 64**2
    assert 0.24 < float(area.min()) < 0.3
    ratio = plan.size[:, 1] / plan.size[:, 0]
    assert 3 / 4 - 1e-3 <= float(ratio.min()) < float(ratio.max()) <= 4 / 3 + 1e-3
    shares = [plan.mirrored, plan.saturation == 0, plan.sigma > 0, plan.hue != 0]
    found = [float(drawn.float().mean()) for drawn in shares]
    assert found == pytest.approx([0.5, 0.2, 0.5, 0.8], abs=0.04)
    assert float(plan.hue.abs().max()) <= 0.2
    assert 0.2 <= float(plan.brightness.min()) < float(plan.brightness.max()) <= 1.8


def test_nothing_is_drawn_where_all_shares_are_zero() -> None:
    config = SimclrConfig(flip=False, min_area=1, colour=0, grey=0, blur=0, crop=32).resolved(32)
    plan = draw_views(config, 50, torch.Generator().manual_seed(0))
    images = _images()[:1].expand(50, -1, -1, -1)
    found = views(images, dataclasses.replace(plan, size=torch.full((50, 2), 32.0), corner=torch.zeros(50, 2)), 32)
    torch.testing.assert_close(found, images, atol=1e-2, rtol=0)
