"""What is to be learnt and found: images, classes, objects, proposals."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.config.reasons import Reason
from worker.config.transfer import VocDetectionProtocol
from worker.data.annotated import AnnotatedStore
from worker.evaluation.detection_ap import Boxes
from worker.evaluation.detectors.proposals import proposals_of, resolved_source
from worker.evaluation.detectors.scenes import objects_of
from worker.stages.contract import Context, StageError


@dataclass(frozen=True)
class DetectionTask:
    store: AnnotatedStore
    classes: list[str]
    train: list[int]
    """The store's images that are learnt from: each has an object to find."""
    test: list[int]
    objects: Boxes
    """Of the test images."""
    train_proposals: list[Tensor]
    """float32 (p, 4) of each image; none where the detector finds its own."""
    test_proposals: list[Tensor]
    without_objects: int
    """Images of the training sets that are left out."""
    unlisted: int
    """Images of the test sets that are left out, as nobody listed their objects."""


def detection_task(store: AnnotatedStore, protocol: VocDetectionProtocol, context: Context) -> DetectionTask:
    """Raises `StageError` with bad_config (no such image set or class) or bad_labels (nothing to learn or to find)."""
    taught = store.images(protocol.train_set)
    listed = [image for image in store.images(protocol.test_set) if store.has_objects(image)]
    classes = _classes(store, protocol, taught)
    train = [image for image in taught if _has_object(store, image, classes)]
    if not train:
        message = f"No image of the set '{protocol.train_set}' has an object of the classes asked for."
        raise StageError(Reason.bad_labels, message)
    if not any(_has_object(store, image, classes) for image in listed):
        message = f"No image of the set '{protocol.test_set}' has an object of the classes asked for."
        raise StageError(Reason.bad_labels, message)
    proposals = _proposals(store, [*train, *listed], protocol, context)
    return DetectionTask(
        store=store,
        classes=classes,
        train=train,
        test=listed,
        objects=objects_of(store, listed, classes),
        train_proposals=proposals[: len(train)],
        test_proposals=proposals[len(train) :],
        without_objects=len(taught) - len(train),
        unlisted=len(store.images(protocol.test_set)) - len(listed),
    )


def _classes(store: AnnotatedStore, protocol: VocDetectionProtocol, taught: Sequence[int]) -> list[str]:
    if protocol.classes is None:
        return sorted({one.name for image in taught for one in store.objects(image)})
    unknown = sorted(set(protocol.classes) - set(store.classes))
    if unknown:
        known = ", ".join(store.classes)
        raise StageError(Reason.bad_config, f"There is no class {', '.join(unknown)}; known: {known}.")
    return sorted(set(protocol.classes))


def _has_object(store: AnnotatedStore, image: int, classes: Sequence[str]) -> bool:
    return any(one.name in classes and not one.difficult for one in store.objects(image))


def _proposals(
    store: AnnotatedStore, images: Sequence[int], protocol: VocDetectionProtocol, context: Context
) -> list[Tensor]:
    if protocol.detector == "faster_rcnn":
        return [torch.zeros(0, 4)] * len(images)
    source = resolved_source(protocol.proposals_source)
    processes = len(os.sched_getaffinity(0))
    return [torch.from_numpy(boxes) for boxes in proposals_of(store, images, source, protocol, processes, context)]
