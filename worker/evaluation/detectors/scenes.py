"""Annotated photographs in memory, with the boxes a detector is asked for."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.data.annotated import AnnotatedStore
from worker.evaluation.detection_ap import Boxes

AHEAD = 4
"""Images decoded before they are asked for, per thread."""


@dataclass(frozen=True)
class Scene:
    """One photograph. All tensors are on the CPU."""

    pixels: Tensor
    """uint8 (3, h, w)."""
    boxes: Tensor
    """float32 (m, 4) of its objects."""
    classes: Tensor
    """int64 (m,), from 0."""
    difficult: Tensor
    """bool (m,)."""
    proposals: Tensor
    """float32 (p, 4)."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), pixels."""
        return self.pixels.shape[2], self.pixels.shape[1]


def read_scenes(
    store: AnnotatedStore, images: Sequence[int], classes: Sequence[str], proposals: Sequence[Tensor], pin: bool
) -> Iterator[Scene]:
    """The scenes of `images` in order, decoded ahead in threads. Objects of other classes than `classes` are left out.

    `pin` puts pixels where a GPU fetches them without waiting.
    """

    def read(position: int) -> Scene:
        image = images[position]
        pixels = store.read(image)
        boxes, labels, difficult = _objects(store, image, classes)
        return Scene(pixels.pin_memory() if pin else pixels, boxes, labels, difficult, proposals[position])

    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads, thread_name_prefix="scenes") as pool:
        waiting: deque[Future[Scene]] = deque()
        for position in range(len(images)):
            waiting.append(pool.submit(read, position))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def objects_of(store: AnnotatedStore, images: Sequence[int], classes: Sequence[str]) -> Boxes:
    """All objects of the `classes` on the images, by the image's position among `images`."""
    found = [_objects(store, image, classes) for image in images]
    counts = [len(boxes) for boxes, _, _ in found]
    return Boxes(
        image=np.repeat(np.arange(len(images)), counts),
        label=torch.cat([labels for _, labels, _ in found]).numpy(),
        box=torch.cat([boxes for boxes, _, _ in found]).double().numpy(),
        score=np.zeros(sum(counts)),
        difficult=torch.cat([difficult for _, _, difficult in found]).numpy(),
    )


def _objects(store: AnnotatedStore, image: int, classes: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    position = {name: label for label, name in enumerate(classes)}
    wanted = [one for one in store.objects(image) if one.name in position]
    boxes = torch.tensor([one.box for one in wanted], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([position[one.name] for one in wanted], dtype=torch.int64)
    return boxes, labels, torch.tensor([one.difficult for one in wanted], dtype=torch.bool)
