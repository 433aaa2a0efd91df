import torch

from worker.stages.crops import centre_crops, greyed_at_random, mirrored_at_random, random_crops
from worker.stages.randomness import torch_generator


def _images(count: int, side: int) -> torch.Tensor:
    shape = (count, 3, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch_generator(0, "images"))


def _places(images: torch.Tensor, crops: torch.Tensor) -> list[tuple[int, int]]:
    """Where each crop was cut, found by looking everywhere."""
    size = crops.shape[-1]
    windows = images.unfold(2, size, 1).unfold(3, size, 1)
    found = (windows == crops[:, :, None, None]).all(dim=(1, 4, 5))
    return [tuple(place.nonzero()[0].tolist()) for place in found]


def test_a_random_crop_is_a_piece_of_its_own_image_from_anywhere() -> None:
    images = _images(200, 12)
    crops = random_crops(images, 10, 1.0, torch_generator(0, "crops"))
    assert crops.dtype == torch.uint8
    assert crops.is_contiguous(memory_format=torch.channels_last)
    assert set(_places(images, crops)) == {(y, x) for y in range(3) for x in range(3)}


def test_an_enlarged_crop_shows_at_least_the_share_asked_for() -> None:
    """On a ramp of one grey level a pixel, the span of a crop's values is its size."""
    ramp = torch.arange(60, dtype=torch.uint8).expand(100, 3, 60, 60)
    crops = random_crops(ramp, 40, 0.5, torch_generator(0, "crops"))
    assert crops.shape == (100, 3, 40, 40)
    spans = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) * 40 / 39
    assert spans.min() > 40 * 0.5 - 1
    assert spans.max() < 40 + 1
    assert spans.std() > 3
    assert crops[:, 0, 0, 0].std() > 3
    upright = random_crops(ramp.transpose(2, 3), 40, 0.5, torch_generator(0, "crops"))
    torch.testing.assert_close(upright[:, 0, -1, 0] - upright[:, 0, 0, 0], spans * 39 / 40)


def test_the_centre_crop_is_the_centre() -> None:
    images = _images(2, 12)
    assert torch.equal(centre_crops(images, 8), images[:, :, 2:10, 2:10])


def test_half_of_the_images_are_mirrored() -> None:
    images = _images(600, 4)
    seen = mirrored_at_random(images, torch_generator(0, "mirror"))
    mirrored = (seen == images.flip(-1)).all(dim=(1, 2, 3))
    kept = (seen == images).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 0.43 < mirrored.float().mean() < 0.57


def test_the_share_of_grey_images_is_the_one_asked_for() -> None:
    images = _images(600, 4)
    seen = greyed_at_random(images, 0.3, torch_generator(0, "grey"))
    grey = (seen == images.float().mean(1, keepdim=True)).all(dim=(1, 2, 3))
    assert torch.equal(seen[~grey], images[~grey].float())
    assert 0.23 < grey.float().mean() < 0.37
