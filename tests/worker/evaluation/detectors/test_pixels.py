import pytest
import torch

from models.pixels import ImagenetPixels, ImagePixels
from worker.evaluation.detectors.pixels import batched, scaled_size, shown


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((500, 375), 600, 1000, (800, 600)),
        ((375, 500), 600, 1000, (600, 800)),
        ((500, 100), 600, 1000, (1000, 200)),
        ((500, 375), 150, 1000, (200, 150)),
    ],
)
def test_the_short_side_is_scaled_unless_the_long_one_would_be_too_long(
    size: tuple[int, int], short: int, longest: int, expected: tuple[int, int]
) -> None:
    assert scaled_size(size, short, longest) == expected


def test_at_its_own_size_an_image_is_only_normalised_and_mirrored() -> None:
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    direct = ImagenetPixels().apply(image[None])[0]
    torch.testing.assert_close(shown(image, (30, 20), ImagenetPixels()), direct)
    torch.testing.assert_close(shown(image, (30, 20), ImagenetPixels(), mirror=True), direct.flip(-1))


def test_an_image_is_standardised_as_it_is_shown() -> None:
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    seen = shown(image, (75, 50), ImagePixels())
    assert seen.shape == (3, 50, 75)
    assert float(seen.mean()) == pytest.approx(0, abs=1e-5)
    assert float(seen.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_images_of_several_sizes_lie_in_the_upper_left_of_zeros() -> None:
    images = [torch.ones(3, 20, 33), torch.ones(3, 17, 10)]
    batch = batched(images, 16)
    assert batch.shape == (2, 3, 32, 48)
    assert batch.sum(dim=(1, 2, 3)).tolist() == [3 * 20 * 33, 3 * 17 * 10]
    assert batch[1, :, :17, :10].all()
