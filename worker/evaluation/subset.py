"""A share of the labels: which of the teaching images a low-shot evaluation may learn from."""

import math

import numpy as np
from numpy.typing import NDArray

from worker.evaluation.split import ProbeSplit
from worker.stages.randomness import numpy_generator


def teaching_subset(split: ProbeSplit, share: float, seed: int) -> NDArray[np.bool_]:
    """True for the rows of `split.images` that teach, `(n,)`: of every class the same share, at least one image.

    Held-out images never teach. Drawn by `seed`; nested: the subset of a smaller share lies in that of a larger one.
    """
    chosen = np.zeros(len(split.images), np.bool_)
    for label in range(len(split.classes)):
        rows = np.flatnonzero((split.labels == label) & ~split.held_out)
        order = numpy_generator(seed, "low-shot", label).permutation(rows)
        # Less a hair: 0.1 of 30 images are 3, though the product of the floats lies above.
        chosen[order[: max(1, math.ceil(share * len(rows) - 1e-9))]] = True
    return chosen
