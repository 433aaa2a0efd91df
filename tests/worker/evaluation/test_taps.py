import pytest

from models.config import Arch, BackboneConfig
from worker.evaluation.taps import pooled_shape

ALEXNET = BackboneConfig(arch=Arch.alexnet)


@pytest.mark.parametrize(
    ("tap", "values"), [("conv1", 9600), ("conv2", 9216), ("conv3", 9600), ("conv4", 9600), ("conv5", 9216)]
)
def test_the_full_size_alexnet_has_the_published_probe_sizes(tap: str, values: int) -> None:
    channels, height, width = pooled_shape(ALEXNET, tap, 227, 9600)
    assert channels * height * width == values


def test_no_pooling_beyond_the_map_and_never_less_than_one_value_a_channel() -> None:
    assert pooled_shape(ALEXNET, "conv5", 227, 10**6) == (256, 13, 13)
    assert pooled_shape(ALEXNET, "conv3", 227, 16) == (384, 1, 1)
