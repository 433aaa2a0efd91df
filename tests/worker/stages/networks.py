"""Small networks for the tests."""

from pathlib import Path

import torch

from models.backbone import build_backbone
from models.checkpoint import CheckpointRecord, save_checkpoint
from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels, ImagePixels

SMALL_ALEXNET = BackboneConfig(arch=Arch.alexnet, width=0.125)
SMALL_VGG = BackboneConfig(arch=Arch.vgg16, width=0.125)


def write_network(path: Path, backbone: BackboneConfig = SMALL_ALEXNET, seed: int = 0, role: str = "teacher") -> Path:
    """A fresh network whose batch norms hold other statistics than fresh ones."""
    torch.manual_seed(seed)
    network = build_backbone(backbone)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features) / 10
            layer.running_var = torch.rand(layer.num_features) + 0.5
    pixels = ImagePixels() if role == "teacher" else ImagenetPixels()
    record = CheckpointRecord(role=role, backbone=backbone, crop=64, pixels=pixels, classes=0)
    save_checkpoint(path, record, network, None)
    return path
