"""A trained network that only looks: maps of whole images, nothing in it changes."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.backbone import Backbone, LayeredBackbone
from models.checkpoint import CheckpointError, CheckpointRecord, load_checkpoint
from models.library import NoSuchNetwork
from models.pixels import Pixels
from worker.config.reasons import Reason
from worker.stages.contract import StageError
from worker.stages.precision import Precision, autocast


def opened_checkpoint(folder: Path, conv1_stride: Literal[2, 4] | None = None) -> tuple[CheckpointRecord, Backbone]:
    """`load_checkpoint` for stages: raises `StageError`, artifact_corrupt or (a library isn't there) bad_config."""
    try:
        return load_checkpoint(folder, conv1_stride)
    except NoSuchNetwork as error:
        raise StageError(Reason.bad_config, f"The checkpoint's network can't be built: {error}.") from error
    except CheckpointError as error:
        raise StageError(Reason.artifact_corrupt, f"The checkpoint can't be read: {error}.") from error


def layered(backbone: Backbone) -> LayeredBackbone:
    """For what takes a network apart. Raises `StageError(bad_config)` for a library's."""
    if isinstance(backbone, LayeredBackbone):
        return backbone
    arch = backbone.config.arch
    message = f"This needs a network whose layers lie in a row, an AlexNet or VGG16; this one is {arch}."
    raise StageError(Reason.bad_config, message)


def checkpoint_facts(folder: Path, record: CheckpointRecord) -> dict[str, Any]:
    """JSON facts that name a network: its role, its architecture, the sha256 of its weights."""
    with (folder / "model.pt").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"role": record.role, "backbone": record.backbone.model_dump(mode="json"), "weights_sha256": digest}


class FrozenNetwork:
    """A backbone in eval mode without gradients, with the pixels it wants."""

    def __init__(self, backbone: Backbone, pixels: Pixels, device: torch.device, precision: Precision) -> None:
        self.backbone = backbone.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._pixels = pixels
        self._device = device
        self._precision = precision

    @torch.inference_mode()
    def taps(self, images: Tensor, names: Collection[str], crop: int) -> dict[str, Tensor]:
        """uint8 (N, 3, side, side) -> the asked maps of the centre `crop`, float32 or bfloat16."""
        values = self._pixels.apply(centre_crop(images, crop)).contiguous(memory_format=torch.channels_last)
        with autocast(self._precision, self._device):
            maps: dict[str, Tensor] = self.backbone.taps(values, names)
        return maps

    def digest(self) -> str:
        """`weights_digest` of the backbone."""
        return weights_digest(self.backbone)


def weights_digest(network: nn.Module) -> str:
    """sha256 of all parameters and buffers: equal before and after, nothing was trained."""
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def centre_crop(images: Tensor, crop: int) -> Tensor:
    """The middle `crop` x `crop` of (N, 3, side, side)."""
    top, left = (images.shape[-2] - crop) // 2, (images.shape[-1] - crop) // 2
    return images[..., top : top + crop, left : left + crop]


def check_crop(side: int, crop: int) -> None:
    """Raises `StageError(bad_config)` for a crop that is larger than its image."""
    if crop > side:
        raise StageError(Reason.bad_config, f"A crop of {crop} pixels can't be cut from images of {side} pixels.")
