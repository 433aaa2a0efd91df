import pytest
import torch
from torch import nn

from models.fold import fold_backbone, fold_classifier
from models.heads import ClassifierHead
from tests.models.nets import lived_in, noise, small_backbone

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@pytest.mark.parametrize("arch", ["alexnet", "alexnet-torchvision", "vgg16"])
def test_a_folded_backbone_is_the_same_function(arch: str) -> None:
    backbone = small_backbone(arch)
    folded = fold_backbone(backbone)
    images = noise(3, 64)
    taps = list(backbone.tap_channels)
    assert folded.config.norm == "none"
    assert not any(isinstance(layer, NORMS) for layer in folded.modules())
    torch.testing.assert_close(folded(images), backbone(images), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(folded.taps(images, taps), backbone.taps(images, taps), rtol=1e-5, atol=1e-5)


def test_a_folded_head_is_the_same_function_under_torchvisions_names() -> None:
    head = ClassifierHead(8, 5, width=16, norm="batch")
    lived_in(head)
    folded = fold_classifier(head)
    maps = torch.rand(3, 8, 6, 6)
    torch.testing.assert_close(folded(maps), head(maps), rtol=1e-5, atol=1e-5)
    assert [key for key in folded.state_dict() if key.endswith("weight")] == [
        "classifier.1.weight",
        "classifier.4.weight",
        "classifier.6.weight",
    ]


def test_response_normalisation_stays() -> None:
    backbone = small_backbone("alexnet", "lrn")
    folded = fold_backbone(backbone)
    images = noise(2, 64)
    assert folded.config == backbone.config
    assert torch.equal(folded(images), backbone(images))


def test_folding_leaves_the_trained_network_alone() -> None:
    backbone = small_backbone("alexnet")
    images = noise(2, 64)
    before = backbone(images)
    fold_backbone(backbone)
    assert torch.equal(backbone(images), before)
