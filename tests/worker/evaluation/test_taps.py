import pytest

from models.config import Arch, BackboneConfig
from worker.config.reasons import Reason
from worker.evaluation.taps import resized_shape, tap_shapes
from worker.stages.contract import StageError

ALEXNET = BackboneConfig(arch=Arch.alexnet)


@pytest.mark.parametrize(
    ("tap", "values"), [("conv1", 9600), ("conv2", 9216), ("conv3", 9600), ("conv4", 9600), ("conv5", 9216)]
)
def test_the_full_size_alexnet_has_the_published_probe_sizes(tap: str, values: int) -> None:
    channels, height, width = resized_shape(ALEXNET, tap, 227, 9600)
    assert channels * height * width == values


def test_no_resizing_beyond_the_map_and_never_less_than_one_value_a_channel() -> None:
    assert resized_shape(ALEXNET, "conv5", 227, 10**6) == (256, 13, 13)
    assert resized_shape(ALEXNET, "conv3", 227, 16) == (384, 1, 1)


def test_an_unknown_tap_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(StageError) as refused:
        tap_shapes(ALEXNET, ["conv1", "fc7"], 227, 9600)
    assert refused.value.reason is Reason.bad_config
    assert str(refused.value) == "This network has no map called fc7; it has conv1, conv2, conv3, conv4, conv5."


def test_a_crop_that_is_too_small_for_a_map_is_refused() -> None:
    with pytest.raises(StageError, match="A crop of 5 pixels leaves nothing of the maps conv5") as refused:
        tap_shapes(ALEXNET, ["conv5"], 5, 9600)
    assert refused.value.reason is Reason.bad_config


@pytest.mark.parametrize(
    "backbone",
    [
        BackboneConfig(arch=Arch.alexnet_torchvision),
        BackboneConfig(arch=Arch.vgg16),
        BackboneConfig(arch=Arch.alexnet, width=0.5, conv1_stride=2),
    ],
)
def test_maps_of_other_networks_come_near_the_budget_and_never_above(backbone: BackboneConfig) -> None:
    for channels, height, width in tap_shapes(backbone, ["conv1", "conv2", "conv3", "conv4"], 128, 9600).values():
        assert channels * height * width <= 9600
        assert height == width
