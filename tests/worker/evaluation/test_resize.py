import numpy as np
import torch

from worker.evaluation.resize import resized

MAPS = torch.arange(2 * 3 * 6 * 6, dtype=torch.float32).view(2, 3, 6, 6) ** 1.5


def test_values_are_flattened_channel_by_channel() -> None:
    np.testing.assert_array_equal(resized(MAPS, 6, "average"), MAPS.flatten(1))
    np.testing.assert_array_equal(resized(MAPS, 6, "bilinear"), MAPS.flatten(1))
    np.testing.assert_array_equal(resized(MAPS, 6, "max"), MAPS.flatten(1))


def test_average_and_max_look_at_every_value_of_a_part() -> None:
    parts = MAPS.view(2, 3, 2, 3, 2, 3)
    np.testing.assert_allclose(resized(MAPS, 2, "average"), parts.mean((3, 5)).flatten(1), rtol=1e-6)
    np.testing.assert_array_equal(resized(MAPS, 2, "max"), parts.amax((3, 5)).flatten(1))


def test_bilinear_takes_the_value_in_the_middle_of_a_part() -> None:
    np.testing.assert_allclose(resized(MAPS, 2, "bilinear"), MAPS[:, :, 1::3, 1::3].flatten(1), rtol=1e-6)
    between = MAPS.view(2, 3, 3, 2, 3, 2).mean((3, 5))
    np.testing.assert_allclose(resized(MAPS, 3, "bilinear"), between.flatten(1), rtol=1e-6)


def test_half_precision_maps_become_float32() -> None:
    assert resized(MAPS.bfloat16(), 3, "bilinear").dtype == torch.float32
