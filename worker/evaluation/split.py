"""Which labelled images probes learn from, and which they are judged on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rule = Literal["md5-share", "md5-mod-10"]

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
    def judged(self) -> NDArray[np.int64]:
        """Indices into the store of the images held out."""
        return self.images[self.held_out]

    @property
    def usable(self) -> bool:
        return len(self.classes) >= 2


def split_labelled(
    paths: Sequence[str],
    labels: NDArray[np.int64],
    holdout: float,
    max_images: int | None,
    seed: int,
    rule: Rule = "md5-share",
) -> ProbeSplit:
    """Labelled images (label >= 0), at most `max_images` drawn by seed, split by the md5 of their path.

    An image stays on its side whichever other images come or go. `md5-share` holds out the share `holdout` of all
    possible digests, `md5-mod-10` those that ten divides.
    """
    images = np.flatnonzero(labels >= 0)
    if max_images is not None and len(images) > max_images:
        images = np.sort(np.random.default_rng(seed).choice(images, max_images, replace=False))
    digests = (_digest(paths[int(index)]) for index in images)
    held_out = np.array([_held_out(digest, rule, holdout) for digest in digests], dtype=np.bool_)
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


def held_out_by_md5(paths: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Which images `md5-share` holds out, `(len(paths),)`; those of a smaller share are among those of a larger one."""
    return np.array([_held_out(_digest(path), "md5-share", share) for path in paths], dtype=np.bool_)


def _held_out(digest: bytes, rule: Rule, holdout: float) -> bool:
    if rule == "md5-mod-10":
        return int.from_bytes(digest) % 10 == 0
    return int.from_bytes(digest[:8]) / 2**64 < holdout


def _digest(path: str) -> bytes:
    return hashlib.md5(path.encode(), usedforsecurity=False).digest()
