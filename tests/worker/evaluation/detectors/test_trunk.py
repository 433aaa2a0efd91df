import copy

import pytest
import torch
from torch import nn

from models.backbone import Backbone, build_backbone
from models.config import Arch, BackboneConfig
from worker.evaluation.detectors.trunk import DetectionTrunk, geometry

CONFIGS = {
    "alexnet": BackboneConfig(arch=Arch.alexnet, width=0.125),
    "alexnet-2": BackboneConfig(arch=Arch.alexnet, width=0.125, conv1_stride=2),
    "lrn": BackboneConfig(arch=Arch.alexnet, width=0.125, norm="lrn"),
    "torchvision": BackboneConfig(arch=Arch.alexnet_torchvision, width=0.125),
    "vgg16": BackboneConfig(arch=Arch.vgg16, width=0.125),
}


def backbone(name: str) -> Backbone:
    """With batch norm statistics as after a training."""
    torch.manual_seed(0)
    network = build_backbone(CONFIGS[name])
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.3, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "stride", "first"),
    [("alexnet", 16, 17), ("alexnet-2", 8, 11), ("lrn", 16, 17), ("torchvision", 16, 15), ("vgg16", 16, 7.5)],
)
def test_stride_and_first_middle_are_those_of_the_arithmetic(name: str, stride: int, first: float) -> None:
    network = backbone(name)
    assert geometry(network.features[: network.tap_end("conv5")]) == (stride, first)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("side", [64, 96, 101, 160])
def test_a_map_has_a_cell_for_every_stride_of_the_image(name: str, side: int) -> None:
    trunk = DetectionTrunk(backbone(name), 0, "fp32")
    maps = trunk(torch.zeros(1, 3, side, side + 40))
    expected = (-(-side // trunk.stride), -(-(side + 40) // trunk.stride))
    assert maps.shape == (1, trunk.out_channels, *expected)


@pytest.mark.parametrize("name", ["alexnet", "alexnet-2", "torchvision", "vgg16"])
def test_the_middle_of_cell_k_lies_at_pixel_stride_times_k(name: str) -> None:
    # Linear layers with positive weights: the gradient of a cell with respect to the image is a hill around its middle.
    trunk = DetectionTrunk(backbone(name), 0, "fp32").double()
    for number, layer in enumerate(trunk.features):
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 0.01)
        elif not isinstance(layer, nn.ReLU):
            kernel, stride, ceil = layer.kernel, layer.stride, layer.ceil
            trunk.features[number] = nn.AvgPool2d(kernel, stride, ceil_mode=ceil)
    image = torch.ones(1, 3, 320, 320, dtype=torch.double, requires_grad=True)
    cell = 160 // trunk.stride
    trunk(image)[0, :, cell, cell].sum().backward()
    assert image.grad is not None
    hill = image.grad[0].sum(0)
    rows = hill.sum(1) / hill.sum()
    assert float((rows * torch.arange(320)).sum()) == pytest.approx(160, abs=0.51)


@pytest.mark.parametrize("name", ["alexnet", "lrn", "vgg16"])
def test_inside_an_image_the_map_is_the_backbone_s_own(name: str) -> None:
    network = backbone(name)
    trunk = DetectionTrunk(network, 0, "fp32")
    torch.manual_seed(1)
    image = torch.randn(1, 3, 227, 227)
    before = trunk._before
    direct = network.taps(nn.functional.pad(image, (before, 64, before, 64)), ["conv5"])["conv5"]
    maps = trunk(image)
    inner = 8  # what the padding behind the image doesn't reach
    torch.testing.assert_close(maps[..., :inner, :inner], direct[..., :inner, :inner], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("frozen", "learning"), [(0, 5), (1, 4), (4, 1), (5, 0)])
def test_the_asked_layers_do_not_learn(frozen: int, learning: int) -> None:
    trunk = DetectionTrunk(backbone("alexnet"), frozen, "fp32")
    convolutions = [layer for layer in trunk.features if isinstance(layer, nn.Conv2d)]
    assert sum(layer.weight.requires_grad for layer in convolutions) == learning
    assert [layer.weight.requires_grad for layer in convolutions] == sorted([i >= frozen for i in range(5)])


def test_training_it_leaves_the_backbone_alone() -> None:
    for name in ("alexnet", "lrn"):
        network = backbone(name)
        before = copy.deepcopy(network.state_dict())
        trunk = DetectionTrunk(network, 0, "fp32")
        with torch.no_grad():
            for parameter in trunk.parameters():
                parameter.add_(1)
        after = network.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_digest_tells_whether_frozen_layers_changed_and_nothing_else() -> None:
    trunk = DetectionTrunk(backbone("alexnet"), 2, "fp32")
    digest = trunk.frozen_digest()
    convolutions = [layer for layer in trunk.features if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        convolutions[2].weight.add_(1)
        assert trunk.frozen_digest() == digest
        convolutions[1].weight[0, 0, 0, 0] += 1e-3
    assert trunk.frozen_digest() != digest
