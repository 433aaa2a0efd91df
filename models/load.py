"""Exported weights, loaded in one line."""

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from models.backbone import Backbone, empty_backbone
from models.checkpoint import CheckpointError, CheckpointRecord, empty_classifier, fill
from models.classifier import Classifier

METADATA_KEY = "passdown"
"""The header entry that holds the record as JSON."""


def load_alexnet(path: str | Path) -> Classifier:
    """The distilled network of `alexnet.safetensors`, on the CPU in eval mode; `.taps(x, ["conv4"])` gives its maps.

    Input: (N, 3, h, w) float32 normalised as the model card's `pixels` says. Raises CheckpointError for other files.
    """
    record, weights = load_export_record(path), _read_weights(path)
    backbone = empty_backbone(record.backbone)
    head = empty_classifier(backbone.out_channels, record)
    fill(backbone, _part(weights, of_head=False))
    fill(head, _part(weights, of_head=True))
    return Classifier(backbone, head).eval()


def load_backbone(path: str | Path) -> Backbone:
    """The convolutions of `teacher.safetensors` or `alexnet.safetensors`, on the CPU in eval mode.

    Raises CheckpointError for other files, `NoSuchNetwork` where a library's network isn't there.
    """
    backbone = empty_backbone(load_export_record(path).backbone)
    fill(backbone.published, _part(_read_weights(path), of_head=False))
    return backbone.eval()


def load_export_record(path: str | Path) -> CheckpointRecord:
    """What an exported file says about its network: how it wants its pixels, its input size, its training."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return CheckpointRecord.model_validate_json((file.metadata() or {}).get(METADATA_KEY, ""))
    except (SafetensorError, ValidationError) as error:
        raise CheckpointError(f"{path} is no export of this program: {error}") from error


def _read_weights(path: str | Path) -> dict[str, Tensor]:
    try:
        return load_file(path, device="cpu")
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _part(weights: dict[str, Tensor], *, of_head: bool) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key.startswith("classifier.") is of_head}
