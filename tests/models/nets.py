"""Small networks with a past: their batch norms have seen data."""

import torch
from torch import nn

from models.backbone import Backbone, build_backbone
from models.checkpoint import CheckpointRecord
from models.classifier import Classifier
from models.config import BackboneConfig
from models.heads import ClassifierHead, HeadNorm
from models.pixels import ImagenetPixels


def lived_in(module: nn.Module) -> nn.Module:
    """Biases and batch norms away from their start, so that forgetting any of them shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.3, generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.normal_(std=0.3, generator=generator)
            elif isinstance(layer, nn.Conv2d | nn.Linear):
                layer.bias.normal_(std=0.1, generator=generator)
    return module.eval()


def small_backbone(arch: str, norm: str = "batch", width: float = 0.125, stride: int = 2) -> Backbone:
    torch.manual_seed(0)
    config = BackboneConfig.model_validate({"arch": arch, "norm": norm, "width": width, "conv1_stride": stride})
    backbone = build_backbone(config)
    lived_in(backbone)
    return backbone


def small_student(
    arch: str = "alexnet", norm: str = "batch", head_norm: HeadNorm = "none", crop: int = 64
) -> tuple[CheckpointRecord, Classifier]:
    """A narrow AlexNet with 5 classes."""
    backbone = small_backbone(arch, norm)
    head = ClassifierHead(backbone.out_channels, 5, width=16, norm=head_norm)
    lived_in(head)
    return student_record(backbone, head, crop, {"norm": head_norm}), Classifier(backbone, head).eval()


def student_record(
    backbone: Backbone, head: ClassifierHead, crop: int, more: dict[str, str] | None = None
) -> CheckpointRecord:
    return CheckpointRecord(
        role="student",
        backbone=backbone.config,
        crop=crop,
        pixels=ImagenetPixels(),
        classes=head.classes,
        head={"width": head.width, "dropout": head.dropout, **(more or {})},
        training={"epochs": 2},
    )


def noise(images: int, side: int) -> torch.Tensor:
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(2))
