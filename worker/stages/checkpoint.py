"""A network as a checkpoint on disk, however it came about."""

from pathlib import Path

import torch
from torch import nn

from models.backbone import Backbone
from models.checkpoint import CheckpointRecord, save_checkpoint
from worker.config.pipeline import ArtifactKind
from worker.stages.contract import Produced
from worker.stages.machine_errors import machine_errors


def write_checkpoint(folder: Path, record: CheckpointRecord, backbone: Backbone, head: nn.Module | None) -> Produced:
    """Raises `StageError(disk_full)`. The summary is the role and what is known of the training, less its config."""
    for module in (backbone, head):
        if module is not None:
            # Training may have laid the weights out channels last.
            module.to(memory_format=torch.contiguous_format)
    with machine_errors(f"writing the {record.role}"):
        save_checkpoint(folder, record, backbone, head)
    known = {name: value for name, value in record.training.items() if name != "config"}
    return Produced(kind=ArtifactKind.checkpoint, path=folder, summary={"role": record.role, **known})
