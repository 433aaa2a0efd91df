"""Which labelled images probes learn from, and which they are judged on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_TRAIN, MIN_HELD_OUT = 2, 1
"""A class with fewer images than this on either side is dropped (our choice)."""


@dataclass(frozen=True)
class ProbeSplit:
    images: NDArray[np.int64]
    """Indices into the store, ascending, of all images that take part."""
    labels: NDArray[np.int64]
    """Class of each, 0 .. `len(classes) - 1`."""
    held_out: NDArray[np.bool_]
    """True where the image judges; the others teach."""
    classes: list[int]
    """The store's class of each label."""
    dropped: dict[int, int]
    """Store's class -> labelled images, for classes with too few."""

    @property
    def usable(self) -> bool:
        return len(self.classes) >= 2


def split_labelled(
    paths: Sequence[str], labels: NDArray[np.int64], holdout: float, max_images: int | None, seed: int
) -> ProbeSplit:
    """Labelled images (label >= 0), at most `max_images` drawn by seed, split by the md5 of their path.

    An image stays on its side whichever other images come or go.
    """
    images = np.flatnonzero(labels >= 0)
    if max_images is not None and len(images) > max_images:
        images = np.sort(np.random.default_rng(seed).choice(images, max_images, replace=False))
    held_out = np.array([_share(paths[int(index)]) < holdout for index in images], dtype=np.bool_)
    classes, dropped = [], {}
    for label in np.unique(labels[images]):
        held = int(held_out[labels[images] == label].sum())
        count = int((labels[images] == label).sum())
        if count - held >= MIN_TRAIN and held >= MIN_HELD_OUT:
            classes.append(int(label))
        else:
            dropped[int(label)] = count
    kept = np.isin(labels[images], classes)
    position = np.searchsorted(classes, labels[images[kept]]).astype(np.int64)
    return ProbeSplit(images[kept], position, held_out[kept], classes, dropped)


def _share(path: str) -> float:
    """The path's md5 as a number in 0..1."""
    return int.from_bytes(hashlib.md5(path.encode(), usedforsecurity=False).digest()[:8]) / 2**64
