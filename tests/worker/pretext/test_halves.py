import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import LayeredBackbone
from models.checkpoint import CheckpointRecord
from models.config import Arch, BackboneConfig
from models.exporting import folded_backbone
from models.pixels import LabPixels
from worker.pretext.halves import HalvedInput, halved_backbone, joined_backbone

TAPS = ("conv1", "conv2", "conv3", "conv4", "conv5")
CONFIGS = [
    BackboneConfig(arch=Arch.alexnet, width=0.25, conv1_stride=2),
    BackboneConfig(arch=Arch.alexnet_torchvision, width=0.25, norm="none"),
    BackboneConfig(arch=Arch.vgg16, width=0.125),
]


def _trained(config: BackboneConfig) -> LayeredBackbone:
    """With batch norm's statistics and scales as if it had been trained."""
    torch.manual_seed(0)
    halved = halved_backbone(config)
    for layer in halved.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    halved.train()
    for _ in range(3):
        halved(torch.randn(8, 3, 64, 64))
    return halved.eval()


@torch.no_grad()
def _half_alone(halved: LayeredBackbone, pixels: Tensor, half: int) -> list[Tensor]:
    """Every layer's map of one half, computed from its own weights and nothing else."""
    own = pixels[:, :1] if half == 0 else pixels[:, 1:]
    maps = []
    for layer in halved.features:
        if isinstance(layer, HalvedInput):
            own = layer.light(own) if half == 0 else layer.colour(own)
        elif isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            weight, bias = layer.weight.chunk(2)[half], layer.bias.chunk(2)[half]
            own = functional.conv2d(own, weight, bias, layer.stride, layer.padding)
        elif isinstance(layer, nn.BatchNorm2d):
            values = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
            own = functional.batch_norm(own, *(value.chunk(2)[half] for value in values if value is not None))
        else:
            own = layer(own.clone())
        maps.append(own)
    return maps


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.arch))
def test_the_plain_backbones_taps_are_both_halves_side_by_side(config: BackboneConfig) -> None:
    halved = _trained(config)
    plain = joined_backbone(halved)
    pixels = torch.randn(2, 3, 64, 64)
    light, colour = (_half_alone(halved, pixels, half) for half in (0, 1))
    with torch.no_grad():
        found, own = plain.taps(pixels, TAPS), halved.taps(pixels, TAPS)
    for tap in TAPS:
        end = plain.tap_end(tap) - 1
        expected = torch.cat([light[end], colour[end]], dim=1)
        torch.testing.assert_close(found[tap], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(own[tap], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.arch))
def test_neither_half_knows_what_the_other_sees(config: BackboneConfig) -> None:
    halved = _trained(config)
    pixels = torch.randn(2, 3, 64, 64)
    other_colour = torch.cat([pixels[:, :1], torch.randn(2, 2, 64, 64)], dim=1)
    with torch.no_grad():
        light, colour = halved(pixels).chunk(2, dim=1)
        light_again, colour_again = halved(other_colour).chunk(2, dim=1)
    assert torch.equal(light, light_again)
    assert not torch.allclose(colour, colour_again)


def test_the_plain_backbone_can_be_exported() -> None:
    plain = joined_backbone(_trained(CONFIGS[0]))
    record = CheckpointRecord(role="teacher", backbone=plain.config, crop=64, pixels=LabPixels(), classes=0)
    _, folded = folded_backbone(record, plain)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(folded(pixels), plain(pixels), atol=1e-4, rtol=1e-4)
