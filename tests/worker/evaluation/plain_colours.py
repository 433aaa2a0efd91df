"""Squares of one colour each under noise, which any network can learn to tell in a few steps."""

from pathlib import Path

import numpy as np
import torch

from models.backbone import build_backbone
from models.checkpoint import CheckpointRecord, load_record, save_checkpoint
from models.heads import ClassifierHead
from models.pixels import ImagenetPixels
from tests.worker.stages.networks import SMALL_ALEXNET
from worker.data.store import ImageStore, write_store
from worker.evaluation.split import ProbeSplit, split_labelled
from worker.evaluation.subject import Subject
from worker.evaluation.taps import View
from worker.stages.contract import Context
from worker.stages.precision import Precision

COLOURS = {"blue": (60, 60, 200), "green": (60, 200, 60), "red": (200, 60, 60)}
SIDE, CROP = 40, 36


def coloured_store(path: Path, count: int = 60) -> ImageStore:
    rng = np.random.default_rng(0)
    names = [list(COLOURS)[index % 3] for index in range(count)]
    plain = np.array([COLOURS[name] for name in names])[:, None, None]
    images = np.clip(plain + rng.normal(0, 20, (count, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    write_store(path, images, [f"{index:03}.png" for index in range(count)], list(names))
    return ImageStore.open(path)


def coloured_split(store: ImageStore) -> ProbeSplit:
    return split_labelled(store.paths, store.labels, 0.3, None, 0)


def judged(
    store: ImageStore,
    checkpoint: Path,
    context: Context,
    crop: int = CROP,
    precision: Precision = "fp32",
) -> Subject:
    """The checkpoint, looking at the store on the context's device."""
    device = torch.device(context.device)
    return Subject(store, checkpoint, load_record(checkpoint), View(SIDE, crop), device, precision, 32, context)


def write_student(path: Path, clusters: int = 4, width: int = 16) -> Path:
    """A fresh network at conv1 stride 2, with a classifier of that `width` where there are clusters."""
    config = SMALL_ALEXNET.model_copy(update={"conv1_stride": 2})
    torch.manual_seed(0)
    network = build_backbone(config)
    head = ClassifierHead(network.out_channels, clusters, width=width) if clusters else None
    shape = {"width": width} if clusters else {}
    record = CheckpointRecord(
        role="student", backbone=config, crop=CROP, pixels=ImagenetPixels(), classes=clusters, head=shape
    )
    save_checkpoint(path, record, network, head)
    return path
