"""A trained network on disk: `checkpoint.json` says what it is, `model.pt` holds its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from models.backbone import Backbone, empty_backbone
from models.config import BackboneConfig
from models.heads import ClassifierHead
from models.pixels import Pixels


class CheckpointError(Exception):
    """The folder holds no checkpoint, or its weights don't fit what its record says."""


class CheckpointRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["teacher", "student"]
    backbone: BackboneConfig
    crop: int
    """Side of the square input it was made for, pixels (of a tile, for a puzzle teacher)."""
    pixels: Pixels
    classes: int
    """Outputs of the head; 0 without one."""
    head: dict[str, Any] = {}
    """Keyword arguments of the head beyond its inputs and classes (`width`, `dropout`, ...)."""
    training: dict[str, Any] = {}
    """Facts to show: schedule, images seen, losses, accuracies, lineage."""


def save_checkpoint(folder: Path, record: CheckpointRecord, backbone: nn.Module, head: nn.Module | None) -> None:
    """Write a checkpoint into `folder`, which is made if need be; the record comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"backbone": _on_cpu(backbone), "head": _on_cpu(head) if head is not None else {}}
    with (folder / "model.pt").open("wb") as file:  # torch.save to a path hides the errno of a full disk
        torch.save(weights, file)
    (folder / "checkpoint.json").write_text(record.model_dump_json(indent=2) + "\n")


def load_record(folder: Path) -> CheckpointRecord:
    """What a checkpoint is, without its weights; raises CheckpointError."""
    try:
        return CheckpointRecord.model_validate_json((folder / "checkpoint.json").read_text())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"no readable checkpoint.json: {error}") from error


def load_checkpoint(folder: Path, conv1_stride: Literal[2, 4] | None = None) -> tuple[CheckpointRecord, Backbone]:
    """The record and the backbone, on the CPU in eval mode; draws no random numbers.

    Raises CheckpointError, and `NoSuchNetwork` where a library's network isn't there.
    `conv1_stride` gives an AlexNet another stride than it was trained with (SPEC section 4: features of whole images).
    """
    record = load_record(folder)
    if conv1_stride is not None:
        backbone = record.backbone.model_copy(update={"conv1_stride": conv1_stride})
        record = record.model_copy(update={"backbone": backbone})
    return record, _filled_backbone(record, _load_weights(folder)["backbone"])


def load_classifier(folder: Path) -> tuple[CheckpointRecord, Backbone, ClassifierHead]:
    """A student with its head, on the CPU in eval mode; draws no random numbers. Raises CheckpointError."""
    record = load_record(folder)
    if record.role != "student":
        raise CheckpointError(f"a {record.role} has no classifier")
    weights = _load_weights(folder)
    backbone = _filled_backbone(record, weights["backbone"])
    head = empty_classifier(backbone.out_channels, record)
    fill(head, weights["head"])
    return record, backbone, head.eval()


def empty_classifier(in_channels: int, record: CheckpointRecord) -> ClassifierHead:
    """The record's head without memory (device `meta`), for `fill`; raises CheckpointError."""
    try:
        with torch.device("meta"):
            return ClassifierHead(in_channels, record.classes, **record.head)
    except TypeError as error:
        raise CheckpointError(f"the record's head is no classifier: {error}") from error


def fill(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load `weights` into an empty module, whole or not at all.

    Raises CheckpointError listing the keys that are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    problems = [
        ("missing", [key for key in own if key not in weights]),
        ("unexpected", [key for key in weights if key not in own]),
        ("wrong shape", [key for key in own if key in weights and own[key].shape != weights[key].shape]),
    ]
    told = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in problems if keys)
    if told:
        raise CheckpointError(f"the weights don't fit the network ({told})")
    module.load_state_dict(dict(weights), assign=True)


def _filled_backbone(record: CheckpointRecord, weights: Mapping[str, Tensor]) -> Backbone:
    backbone = empty_backbone(record.backbone)
    fill(backbone, weights)
    return backbone.eval()


def _load_weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    try:
        weights = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
        return {"backbone": weights["backbone"], "head": weights["head"]}
    except Exception as error:  # torch.load fails in many ways; all of them mean that the file is no good
        raise CheckpointError(f"no readable model.pt: {error}") from error


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu() for key, value in module.state_dict().items()}
