import numpy as np
import torch

from worker.pictures.tensor_image import captioned, equally_wide, image_of, with_square


def test_a_caption_is_never_cut_off() -> None:
    small = image_of(torch.zeros(3, 10, 10))
    words = "slots show cells 4? 3 7 1? 5 6 0 8 2"
    beside = np.array(captioned(small, words))[10:]
    wide = np.array(captioned(image_of(torch.zeros(3, 10, 600)), words))[10:]
    assert (beside < 255).sum() == (wide < 255).sum()


def test_pictures_are_padded_to_the_widest() -> None:
    narrow, wide = (image_of(torch.zeros(3, 4, width)) for width in (3, 7))
    padded = equally_wide([narrow, wide])
    assert [picture.size for picture in padded] == [(7, 4), (7, 4)]
    assert (np.array(padded[0])[:, 3:] == 255).all()
    assert not np.array(padded[0])[:, :3].any()


def test_a_square_is_drawn_on_a_copy() -> None:
    picture = image_of(torch.zeros(3, 20, 30))
    marked = np.array(with_square(picture, left=10, top=5, side=8, colour=(255, 0, 0)))[..., 0]
    assert not np.array(picture).any()
    expected = np.zeros((20, 30))
    expected[5:13, 10:18] = 255
    expected[7:11, 12:16] = 0
    np.testing.assert_array_equal(marked, expected)
