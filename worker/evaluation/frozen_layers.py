"""The lower layers of a checkpoint, frozen, and fresh layers to put on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.backbone import LayeredBackbone, build_layered
from models.checkpoint import CheckpointError, CheckpointRecord, load_classifier
from models.heads import ClassifierHead
from worker.config.probe import TAPS
from worker.evaluation.new_layers import new_head
from worker.stages.frozen import layered, opened_checkpoint, weights_digest
from worker.stages.precision import Precision, autocast

POOL5 = "pool5"
HEAD_COLUMNS = ("fc6", "fc7")
POOLED = 6
"""Side of the map that fc6 reads."""


@dataclass(frozen=True)
class FrozenLayers:
    """All layers of a checkpoint in one row, in eval mode and without gradients."""

    record: CheckpointRecord
    backbone: LayeredBackbone
    layers: nn.Sequential
    """The convolutions; with a classifier also its average pooling and fully connected layers."""
    ends: dict[str, int]
    """Column -> leading layers that make its map."""
    widths: dict[str, int]
    """fc column -> its values."""
    device: torch.device
    precision: Precision

    @classmethod
    def open(cls, checkpoint: Path, device: torch.device, precision: Precision) -> "FrozenLayers":
        """A checkpoint without a readable classifier has no fc columns.

        Raises `StageError`: artifact_corrupt, bad_config (a library's network).
        """
        record, found = opened_checkpoint(checkpoint)
        backbone = layered(found)
        ends: dict[str, int] = {column: backbone.tap_end(column) for column in TAPS}
        ends[POOL5] = len(backbone.features)
        widths: dict[str, int] = {}
        layers = list(backbone.features)
        head = _classifier(checkpoint) if record.classes else None
        if head is not None:
            layers += [head.avgpool, nn.Flatten(), *head.classifier]
            activations = [place + 1 for place, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
            ends |= dict(zip(HEAD_COLUMNS, activations[-len(HEAD_COLUMNS) :], strict=True))
            widths = dict.fromkeys(HEAD_COLUMNS, head.width)
        row = nn.Sequential(*layers).eval().requires_grad_(False)
        row.to(device).to(memory_format=torch.channels_last)
        return cls(record, backbone, row, ends, widths, device, precision)

    @torch.no_grad()
    def maps(self, images: Tensor, columns: Sequence[str]) -> dict[str, Tensor]:
        """uint8, or float in 0..255, (N, 3, crop, crop) -> the asked columns' maps; deeper layers don't run."""
        wanted = {self.ends[column]: column for column in columns}
        found: dict[str, Tensor] = {}
        with autocast(self.precision, self.device):
            x = self.record.pixels.apply(images).contiguous(memory_format=torch.channels_last)
            for done, layer in enumerate(self.layers[: max(wanted)], start=1):
                x = layer(x)
                if done in wanted:
                    found[wanted[done]] = x
        return found

    def digest(self) -> str:
        return weights_digest(self.layers)

    def new_layers_after(self, column: str, width: int, classes: int) -> nn.Sequential:
        """Everything that follows `column`, with fresh weights from torch's global generator."""
        norm = self.backbone.config.norm == "batch"
        if column in HEAD_COLUMNS:
            hidden = len(HEAD_COLUMNS) - 1 - HEAD_COLUMNS.index(column)
            return new_head(self.widths[column], hidden, width, classes, norm)
        convolutions = build_layered(self.backbone.config).features[self.ends[column] :]
        head = new_head(self.backbone.out_channels * POOLED**2, len(HEAD_COLUMNS), width, classes, norm)
        return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(POOLED), nn.Flatten(), *head)


def _classifier(checkpoint: Path) -> ClassifierHead | None:
    try:
        return load_classifier(checkpoint)[2]
    except CheckpointError:
        return None
