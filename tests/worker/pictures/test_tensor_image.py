import numpy as np
import torch

from worker.pictures.tensor_image import image_of, with_square


def test_a_square_is_drawn_on_a_copy() -> None:
    picture = image_of(torch.zeros(3, 20, 30))
    marked = np.array(with_square(picture, left=10, top=5, side=8, colour=(255, 0, 0)))[..., 0]
    assert not np.array(picture).any()
    expected = np.zeros((20, 30))
    expected[5:13, 10:18] = 255
    expected[7:11, 12:16] = 0
    np.testing.assert_array_equal(marked, expected)
