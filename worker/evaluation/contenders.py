"""The networks that are compared, each made when its turn comes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.backbone import Backbone, build_backbone
from models.checkpoint import CheckpointRecord
from worker.data.loader import read_batch
from worker.data.store import ImageStore
from worker.evaluation.taps import View
from worker.stages.frozen import FrozenNetwork, opened_checkpoint
from worker.stages.precision import Precision
from worker.stages.randomness import numpy_generator, torch_generator

RANDOM, CALIBRATED, TEACHER, STUDENT = "random", "random_calibrated", "teacher", "student"
CALIBRATION_IMAGES = 1024
SEEN_SHARE = 224 / 256
"""Crop to side, as in evaluation on ImageNet: networks see images at about the scale they were trained at."""


@dataclass(frozen=True)
class Contender:
    name: str
    record: CheckpointRecord
    view: View
    open: Callable[[], FrozenNetwork]


def contenders(
    store: ImageStore,
    student: Path,
    teacher: Path | None,
    train: NDArray[np.int64],
    seed: int,
    device: torch.device,
    precision: Precision,
) -> Iterator[Contender]:
    """The student's architecture untrained (seeded), the teacher where there is one, and the student.

    Where the student has batch norm there are two untrained networks: as initialised, and with batch norm statistics
    estimated on the images `train`. The second is the harder baseline: statistics alone help, and are no knowledge.
    """
    record, _ = opened_checkpoint(student)

    def frozen(backbone: Backbone, record: CheckpointRecord) -> FrozenNetwork:
        return FrozenNetwork(backbone, record.pixels, device, precision)

    def calibrated() -> FrozenNetwork:
        network = frozen(untrained(record, seed), record)
        calibrate(network, store, train, view_of(record, store), seed, device)
        return network

    view = view_of(record, store)
    yield Contender(RANDOM, record, view, lambda: frozen(untrained(record, seed), record))
    if record.backbone.norm == "batch":
        yield Contender(CALIBRATED, record, view, calibrated)
    if teacher is not None:
        taught, _ = opened_checkpoint(teacher)
        yield Contender(TEACHER, taught, view_of(taught, store), lambda: frozen(opened_checkpoint(teacher)[1], taught))
    yield Contender(STUDENT, record, view, lambda: frozen(opened_checkpoint(student)[1], record))


def view_of(record: CheckpointRecord, store: ImageStore) -> View:
    """The crop the network was made for, out of the whole image resized so that the crop shows 224/256 of its side."""
    side = min(store.side, round(record.crop / SEEN_SHARE))
    return View(side, min(side, record.crop))


def untrained(record: CheckpointRecord, seed: int) -> Backbone:
    """Fresh weights for the record's architecture; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch_generator(seed, "untrained").get_state())
        return build_backbone(record.backbone)


@torch.inference_mode()
def calibrate(
    network: FrozenNetwork, store: ImageStore, images: NDArray[np.int64], view: View, seed: int, device: torch.device
) -> None:
    """Replaces the batch norms' running statistics by the mean over batches of up to 1024 of these images."""
    chosen = numpy_generator(seed, "calibration").permutation(images)[:CALIBRATION_IMAGES]
    norms = [layer for layer in network.backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.backbone.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    for start in range(0, len(chosen), 128):
        batch = read_batch(store, np.sort(chosen[start : start + 128]), view.side).to(device)
        network.taps(batch, [network.backbone.last_tap], view.crop)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.backbone.eval()
