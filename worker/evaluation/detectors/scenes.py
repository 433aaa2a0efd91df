"""Annotated photographs, decoded, with the boxes a detector is asked for."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from worker.data.annotated import AnnotatedStore
from worker.evaluation.detection_ap import Boxes
from worker.evaluation.image_cache import LIMIT, room

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


class Scenes(Protocol):
    """What a detector learns from."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Scene: ...


class KeptScenes:
    """The scenes of `images`, looked at many times: decoded once and kept, as far as `limit` bytes of pixels and the
    machine's memory reach. Those after them are decoded whenever they are asked for; both are the same scenes."""

    def __init__(
        self,
        store: AnnotatedStore,
        images: Sequence[int],
        classes: Sequence[str],
        proposals: Sequence[Tensor],
        pin: bool,
        limit: int = LIMIT,
    ) -> None:
        """`pin` as for `read_scenes`."""
        self._store = store
        self._images = images
        self._classes = classes
        self._proposals = proposals
        self._pin = pin
        kept = _fitting(store, images, room(torch.device("cpu"), limit))
        self._kept = list(read_scenes(store, images[:kept], classes, proposals[:kept], pin))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, position: int, /) -> Scene:
        if position < len(self._kept):
            return self._kept[position]
        return _read(self._store, self._images[position], self._classes, self._proposals[position], self._pin)


def _fitting(store: AnnotatedStore, images: Sequence[int], limit: int) -> int:
    """How many of the images, from the first on, take at most `limit` bytes together."""
    sizes = (store.size(image) for image in images)
    return sum(total <= limit for total in accumulate(3 * width * height for width, height in sizes))


def read_scenes(
    store: AnnotatedStore, images: Sequence[int], classes: Sequence[str], proposals: Sequence[Tensor], pin: bool
) -> Iterator[Scene]:
    """The scenes of `images` in order, decoded ahead in threads. Objects of other classes than `classes` are left out.

    `pin` puts pixels where a GPU fetches them without waiting.
    """
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads, thread_name_prefix="scenes") as pool:
        waiting: deque[Future[Scene]] = deque()
        for position in range(len(images)):
            waiting.append(pool.submit(_read, store, images[position], classes, proposals[position], pin))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(store: AnnotatedStore, image: int, classes: Sequence[str], proposals: Tensor, pin: bool) -> Scene:
    pixels = store.read(image)
    boxes, labels, difficult = _objects(store, image, classes)
    return Scene(pixels.pin_memory() if pin else pixels, boxes, labels, difficult, proposals)


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
