"""Small photographs of coloured discs on grey with boxes and masks: the colour is the class, learnt in seconds."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.backbone import build_backbone
from models.checkpoint import CheckpointRecord, save_checkpoint
from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels
from worker.data.annotated import VOID, Annotation, write_annotated_store

COLOURS = {"blue": (40, 60, 220), "green": (30, 200, 60), "red": (220, 40, 30)}
"""Class -> RGB; mask indices 1, 2, 3 in this order."""
Pictures = dict[str, NDArray[np.uint8]]


def coloured_store(path: Path, train: int, test: int, side: int = 96) -> Path:
    """Images of `side` by `side + 16` pixels, with sets `train` and `val` for segmentation and `trainval`, `test`."""
    generator = np.random.default_rng(0)
    images: Pictures = {}
    masks: Pictures = {}
    objects: dict[str, list[Annotation]] = {}
    ids = [f"VOC2012/{number:06}" for number in range(train + test)]
    for number, id in enumerate(ids):
        images[id], masks[id], objects[id] = _picture(number % 3, side, generator)
    sets = {
        "VOC2012/Segmentation/train": ids[:train],
        "VOC2012/Segmentation/val": ids[train:],
        "VOC2012/Main/trainval": ids[:train],
        "VOC2012/Main/test": ids[train:],
    }
    write_annotated_store(path, images, sets, objects, masks, ["background", *COLOURS])
    return path


def _picture(
    kind: int, side: int, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[Annotation]]:
    width, radius = side + 16, int(generator.integers(side // 4, side // 3))
    x, y = (int(generator.integers(radius, end - radius)) for end in (width, side))
    rows, columns = np.mgrid[:side, :width]
    distance = np.hypot(rows - y, columns - x)
    pixels = generator.normal(128, 12, (side, width, 3))
    pixels[distance < radius] = np.array(list(COLOURS.values())[kind]) + generator.normal(0, 12, 3)
    mask = np.where(distance < radius, kind + 1, 0).astype(np.uint8)
    mask[abs(distance - radius) < 1.5] = VOID
    box = (float(x - radius), float(y - radius), float(x + radius), float(y + radius))
    return np.clip(pixels, 0, 255).astype(np.uint8), mask, [Annotation(list(COLOURS)[kind], box)]


def untrained_checkpoint(folder: Path, config: BackboneConfig | None = None) -> Path:
    """The narrowest AlexNet, or whatever `config` says, with fresh weights."""
    config = config or BackboneConfig(arch=Arch.alexnet, width=0.125, norm="batch", conv1_stride=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone(config)
    record = CheckpointRecord(role="teacher", backbone=config, crop=64, pixels=ImagenetPixels(), classes=0)
    save_checkpoint(folder, record, backbone, None)
    return folder
