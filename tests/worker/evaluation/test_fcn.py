import pytest
import torch
from torch.nn import functional

from models.backbone import build_backbone
from models.config import Arch, BackboneConfig
from worker.evaluation.fcn import Fcn, interpolation_matrix

CONFIGS = [
    BackboneConfig(arch=Arch.alexnet, width=0.125, norm="batch"),
    BackboneConfig(arch=Arch.alexnet, width=0.125, norm="batch", conv1_stride=2),
    BackboneConfig(arch=Arch.alexnet_torchvision, width=0.125, norm="none"),
    BackboneConfig(arch=Arch.vgg16, width=0.125, norm="batch"),
]


def network(config: BackboneConfig) -> Fcn:
    torch.manual_seed(0)
    return Fcn(build_backbone(config), classes=3, width=16).eval()


@pytest.mark.parametrize("stride", [2, 16, 32])
@pytest.mark.parametrize("cells", [1, 2, 7])
def test_enlarging_is_torchs_bilinear_interpolation(stride: int, cells: int) -> None:
    line = torch.randn(1, 1, cells, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(line, scale_factor=stride, mode="linear")[0, 0]
    matrix = interpolation_matrix(cells * stride, cells, stride, (stride - 1) / 2)
    torch.testing.assert_close(matrix @ line[0, 0], expected)


@pytest.mark.parametrize(("pixels", "cells", "first"), [(64, 3, -5.5), (100, 4, 17.0), (10, 9, 40.0)])
def test_every_pixel_is_a_mean_of_cells(pixels: int, cells: int, first: float) -> None:
    matrix = interpolation_matrix(pixels, cells, 32, first)
    assert bool((matrix >= 0).all())
    torch.testing.assert_close(matrix.sum(1), torch.ones(pixels))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("size", [(64, 64), (96, 131), (256, 227)])
def test_scores_have_the_images_size(config: BackboneConfig, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert network(config)(torch.randn(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_cells_lie_where_their_view_of_the_image_has_its_middle(config: BackboneConfig) -> None:
    """The pixels that move a cell, found by gradients, have the cell's place in their middle, to a pixel or two."""
    fcn = network(config)
    side, cell = 640, 9
    touched = torch.zeros(side)
    for seed in range(3):
        image = torch.randn(1, 3, side, 64, generator=torch.Generator().manual_seed(seed), requires_grad=True)
        fcn.head[0](fcn.features(image))[0, :, cell].sum().backward()
        assert image.grad is not None
        touched += image.grad.abs().sum((0, 1, 3))
    seen = touched.nonzero().flatten()
    middle = float(seen.min() + seen.max()) / 2
    assert abs(middle - (fcn.first + cell * fcn.stride)) <= 3


def test_untrained_scores_are_equal_for_all_classes() -> None:
    with torch.no_grad():
        assert bool((network(CONFIGS[0])(torch.randn(1, 3, 64, 64)) == 0).all())


def test_convolutions_are_the_backbones_own() -> None:
    backbone = build_backbone(CONFIGS[0])
    fcn = Fcn(backbone, classes=3, width=16)
    assert [id(layer) for layer in fcn.features] == [id(layer) for layer in backbone.features]


def test_fc6_starts_the_same_whatever_the_size_of_the_maps() -> None:
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = []
    for factor in (1, 100):
        fcn = network(CONFIGS[2])
        fcn.features[0].requires_grad_(False).weight.mul_(factor)
        fcn.settle(images)
        with torch.no_grad():
            found.append(fcn.head[0](fcn.features(images)))
    assert float(found[0].std()) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-2)
