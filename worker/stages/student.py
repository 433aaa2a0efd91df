"""What a student sees while it learns from scratch: shared by cluster classification and feature distillation."""

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Generator, Tensor

from worker.config.base import DatasetFacts
from worker.config.reasons import Reason
from worker.config.student import StudentConfig
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.stages.contract import StageError
from worker.stages.crops import mirrored_at_random, random_crops
from worker.stages.task import Indices

C = TypeVar("C", bound=StudentConfig)


def fitted_to(config: C, store: ImageStore) -> C:
    """`config` with its sizes; raises `StageError(images_too_small)` where the images are smaller than those."""
    config = config.resolved(DatasetFacts(image_count=store.count, side=store.side, class_count=len(store.classes)))
    side, crop = int(config.side), int(config.crop)
    if side > store.side:
        raise StageError(Reason.images_too_small, f"`side` is {side}, but the stored images have {store.side} px.")
    if crop > side:
        raise StageError(Reason.images_too_small, f"Crops of {crop} px can't be cut from images of {side} px.")
    return config


def random_views(images: Tensor, config: StudentConfig, generator: Generator) -> Tensor:
    """uint8 (N, 3, side, side) -> (N, 3, crop, crop), uint8 or float in 0..255: a random crop, perhaps mirrored."""
    crops = random_crops(images, int(config.crop), config.min_scale, generator)
    return mirrored_at_random(crops, generator) if config.flip else crops


def batches_in_order(
    store: ImageStore, indices: Indices, batch: int, side: int, device: torch.device
) -> Iterator[tuple[Tensor, Indices]]:
    """uint8 (N, 3, side, side) with their indices, on `device`; the last batch may be smaller."""
    batches = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    with BatchLoader(store, batches, side, device) as loader:
        yield from zip(loader, batches, strict=True)
