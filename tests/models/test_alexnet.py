import pytest
import torch
from torchvision.models import alexnet

from models.backbone import build_backbone, map_shape
from models.config import Arch, BackboneConfig
from tests.models.nets import noise


def grouped(stride: int, norm: str = "none", width: float = 1.0) -> BackboneConfig:
    return BackboneConfig.model_validate({"arch": "alexnet", "norm": norm, "conv1_stride": stride, "width": width})


def test_a_64_pixel_tile_shrinks_as_published() -> None:
    config = grouped(stride=2)
    assert map_shape(config, 64, "conv1") == (96, 27, 27)
    assert map_shape(config, 64, "conv2") == (256, 13, 13)
    assert map_shape(config, 64, "conv3") == (384, 6, 6)
    assert map_shape(config, 64, "conv5") == (256, 6, 6)
    assert map_shape(config, 64) == (256, 3, 3)


def test_a_227_pixel_image_shrinks_as_published() -> None:
    config = grouped(stride=4)
    assert map_shape(config, 227, "conv1") == (96, 55, 55)
    assert map_shape(config, 227, "conv2") == (256, 27, 27)
    assert map_shape(config, 227, "conv4") == (384, 13, 13)
    assert map_shape(config, 227) == (256, 6, 6)


def test_response_normalisation_comes_after_pooling() -> None:
    layers = [type(layer).__name__ for layer in build_backbone(grouped(stride=4, norm="lrn", width=0.125)).features]
    assert layers[:8] == ["Conv2d", "ReLU", "ClippedMaxPool2d", "LocalResponseNorm"] * 2


def test_the_grouped_networks_convolutions_have_the_published_size() -> None:
    network = build_backbone(grouped(stride=2))
    assert sum(value.numel() for value in network.parameters()) == 2_334_080
    assert [layer.groups for layer in network.features if isinstance(layer, torch.nn.Conv2d)] == [1, 2, 1, 2, 2]


def test_torchvisions_variant_is_torchvisions_network() -> None:
    ours = build_backbone(BackboneConfig(arch=Arch.alexnet_torchvision, norm="none")).eval()
    theirs = alexnet(num_classes=2).features.eval()
    theirs.load_state_dict({key.removeprefix("features."): value for key, value in ours.state_dict().items()})
    images = noise(2, 95)
    assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("arch", ["alexnet", "alexnet-torchvision"])
@pytest.mark.parametrize("stride", [2, 4])
def test_a_26_pixel_tile_survives_to_the_last_layer(arch: str, stride: int) -> None:
    config = BackboneConfig.model_validate({"arch": arch, "conv1_stride": stride, "width": 0.125})
    _, height, width = map_shape(config, 26)
    assert height >= 1
    assert width >= 1


@pytest.mark.parametrize("width", [0.125, 0.2, 0.3, 0.5, 0.9])
def test_every_width_gives_multiples_of_eight_channels(width: float) -> None:
    network = build_backbone(grouped(stride=2, width=width))
    assert all(channels % 8 == 0 for channels in network.tap_channels.values())
    assert network(noise(1, 32)).shape[1] == network.out_channels


def test_without_response_normalisation_activations_keep_their_scale() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        maps = build_backbone(grouped(stride=2, width=0.25)).taps(noise(4, 64), ["conv1", "conv5"])
    ratio = float(maps["conv5"].std() / maps["conv1"].std())
    assert 0.1 < ratio < 10


def test_the_released_networks_gaussian_start_comes_with_response_normalisation() -> None:
    torch.manual_seed(0)
    convs = [
        layer for layer in build_backbone(grouped(stride=2, norm="lrn")).features if isinstance(layer, torch.nn.Conv2d)
    ]
    assert [conv.bias[0].item() for conv in convs if conv.bias is not None] == [0, 1, 0, 1, 1]
    assert all(0.009 < conv.weight.std().item() < 0.011 for conv in convs)
