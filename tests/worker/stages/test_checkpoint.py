"""What every training leaves behind."""

from pathlib import Path

import torch

from models.backbone import build_backbone
from models.checkpoint import CheckpointRecord, load_checkpoint
from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels
from worker.config.pipeline import ArtifactKind
from worker.stages.checkpoint import write_checkpoint


def test_weights_lie_in_plain_order_whatever_order_training_used(tmp_path: Path) -> None:
    config = BackboneConfig(arch=Arch.alexnet, width=0.125)
    record = CheckpointRecord(
        role="student",
        backbone=config,
        crop=64,
        pixels=ImagenetPixels(),
        classes=0,
        training={"epochs": 3, "config": {"seed": 1}},
    )
    backbone = build_backbone(config)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    made = write_checkpoint(tmp_path, record, backbone.to(memory_format=torch.channels_last), None)
    read, loaded = load_checkpoint(tmp_path)
    assert (made.kind, made.summary) == (ArtifactKind.checkpoint, {"role": "student", "epochs": 3})
    assert read.training == record.training
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.is_contiguous()
