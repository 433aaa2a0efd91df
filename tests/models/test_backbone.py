import pytest
import torch

from models.backbone import build_backbone, empty_backbone
from models.config import BackboneConfig
from tests.models.nets import noise, small_backbone

ALL_TAPS = ["conv1", "conv2", "conv3", "conv4", "conv5"]


@pytest.mark.parametrize(
    ("arch", "norm"), [("alexnet", "lrn"), ("alexnet", "batch"), ("alexnet-torchvision", "none"), ("vgg16", "batch")]
)
def test_taps_are_maps_after_relu_with_the_channels_promised(arch: str, norm: str) -> None:
    network = small_backbone(arch, norm)
    maps = network.taps(noise(2, 64), ALL_TAPS)
    assert {name: value.shape[1] for name, value in maps.items()} == network.tap_channels
    assert all(value.min().item() == 0 for value in maps.values())


def test_the_output_is_the_deepest_tap_pooled() -> None:
    network = small_backbone("alexnet")
    images = noise(2, 64)
    pooled = torch.nn.functional.max_pool2d(network.taps(images, ["conv5"])["conv5"], 3, 2, ceil_mode=True)
    assert torch.equal(network(images), pooled)


def test_asked_for_one_tap_no_deeper_layer_runs() -> None:
    network = small_backbone("alexnet")
    ran: list[int] = []
    for number, layer in enumerate(network.features):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    maps = network.taps(noise(1, 64), ["conv2"])
    assert list(maps) == ["conv2"]
    assert ran == list(range(len(ran)))
    assert type(network.features[ran[-1]]).__name__ == "ReLU"
    assert len(ran) < len(network.features) / 2


def test_an_unknown_tap_is_refused() -> None:
    with pytest.raises(KeyError, match="conv6"):
        small_backbone("alexnet").taps(noise(1, 64), ["conv6"])


def test_the_same_seed_gives_the_same_weights() -> None:
    config = BackboneConfig.model_validate({"arch": "vgg16", "width": 0.125})
    torch.manual_seed(7)
    first = build_backbone(config).state_dict()
    torch.manual_seed(7)
    second = build_backbone(config).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_empty_network_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    empty_backbone(BackboneConfig.model_validate({"arch": "alexnet", "norm": "lrn"}))
    assert torch.equal(torch.get_rng_state(), before)


def test_channels_last_gives_the_same_maps() -> None:
    network = small_backbone("vgg16")
    images = noise(2, 64)
    plain = network(images)
    network.to(memory_format=torch.channels_last)
    turned = network(images.contiguous(memory_format=torch.channels_last))
    assert turned.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(turned, plain)
