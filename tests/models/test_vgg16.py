import pytest
import torch
from torchvision.models import vgg16, vgg16_bn

from models.backbone import build_backbone, map_shape
from models.config import Arch, BackboneConfig

PLAIN = BackboneConfig(arch=Arch.vgg16, norm="none")


def test_conv4_of_a_224_pixel_image_is_28_by_28() -> None:
    assert map_shape(PLAIN, 224, "conv4") == (512, 28, 28)


def test_a_64_pixel_tile_leaves_2_by_2() -> None:
    assert map_shape(PLAIN, 64) == (512, 2, 2)


def test_a_26_pixel_tile_survives_to_the_last_layer() -> None:
    assert map_shape(PLAIN, 26) == (512, 1, 1)


@pytest.mark.parametrize(("norm", "theirs"), [("none", vgg16), ("batch", vgg16_bn)])
def test_names_and_shapes_are_torchvisions(norm: str, theirs: type[torch.nn.Module]) -> None:
    with torch.device("meta"):
        ours = build_backbone(BackboneConfig.model_validate({"arch": "vgg16", "norm": norm})).state_dict()
        expected = theirs().features.state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        f"features.{key}": value.shape for key, value in expected.items()
    }


def test_taps_are_the_last_maps_of_the_blocks() -> None:
    network = build_backbone(BackboneConfig(arch=Arch.vgg16, width=0.125))
    assert network.tap_channels == {"conv1": 8, "conv2": 16, "conv3": 32, "conv4": 64, "conv5": 64}
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network.features) == 13
