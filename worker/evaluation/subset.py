"""A share of the labels: which of the teaching images a low-shot evaluation may learn from."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.evaluation.split import ProbeSplit


def teaching_subset(split: ProbeSplit, paths: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """True for the rows of `split.images` that teach, `(n,)`: of every class the same share, at least one image.

    Held-out images never teach. `paths` are the store's. A class's images are taken in the order of the md5 of seed and
    path, so the subset of a smaller share lies in that of a larger one, and whichever images come or go, the others
    keep their order.
    """
    chosen = np.zeros(len(split.images), np.bool_)
    place = _places([paths[int(image)] for image in split.images], seed)
    for label in range(len(split.classes)):
        rows = np.flatnonzero((split.labels == label) & ~split.held_out)
        order = rows[np.argsort(place[rows], kind="stable")]
        # Less a hair: 0.1 of 30 images are 3, though the product of the floats lies above.
        chosen[order[: max(1, math.ceil(share * len(rows) - 1e-9))]] = True
    return chosen


def _places(paths: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """Numbers that seed and path alone decide, `(len(paths),)`."""
    digests = (hashlib.md5(f"{seed}/{path}".encode(), usedforsecurity=False).digest() for path in paths)
    return np.array([int.from_bytes(digest[:8]) for digest in digests], dtype=np.uint64)
