"""Small photographs with two kinds of objects, drawn, as a store; and the smallest network to find them."""

from pathlib import Path

import numpy as np
import torch

from models.backbone import build_backbone
from models.checkpoint import CheckpointRecord, save_checkpoint
from models.config import Arch, BackboneConfig
from models.pixels import ImagePixels
from worker.data.annotated import AnnotatedStore, Annotation, write_annotated_store

WIDTH, HEIGHT = 128, 96
COLOURS = {"ball": (220, 60, 60), "cube": (60, 60, 220)}
NARROW = BackboneConfig(arch=Arch.alexnet, width=0.125, conv1_stride=2)


def drawn_store(path: Path, count: int = 4) -> AnnotatedStore:
    """`count` images, each with a red and a blue rectangle left and right, in the sets `train` and `test`.

    With proposals: a dozen near each object, and a hundred anywhere.
    """
    rng = np.random.default_rng(0)
    images, objects, proposals = {}, {}, {}
    for number in range(count):
        pixels = rng.normal(128, 6, (HEIGHT, WIDTH, 3))
        found = []
        for side, (name, colour) in enumerate(COLOURS.items()):
            width, height = (int(value) for value in rng.integers(24, 48, 2))
            x = int(rng.integers(0, 64 - width)) + 64 * ((side + number) % 2)
            y = int(rng.integers(0, HEIGHT - height))
            pixels[y : y + height, x : x + width] = colour
            found.append(Annotation(name, (float(x), float(y), float(x + width), float(y + height))))
        name = f"VOC2007/{number:06}"
        images[name], objects[name] = pixels.clip(0, 255).astype(np.uint8), found
        near = np.array([one.box for one in found for _ in range(12)]) + rng.uniform(-5, 5, (24, 4))
        corners = rng.uniform(0, 0.7, (100, 2)) * (WIDTH, HEIGHT)
        far = np.concatenate([corners, corners + rng.uniform(12, 38, (100, 2))], axis=1)
        proposals[name] = np.concatenate([near, far]).astype(np.float32)
    sets = {"train": list(images), "test": list(images)}
    write_annotated_store(path, images, sets, objects, proposals=proposals)
    return AnnotatedStore.open(path)


def narrow_checkpoint(path: Path, config: BackboneConfig = NARROW) -> Path:
    """An untrained network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        record = CheckpointRecord(role="teacher", backbone=config, crop=64, pixels=ImagePixels(), classes=0)
        save_checkpoint(path, record, build_backbone(config), None)
    return path
