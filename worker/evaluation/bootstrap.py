"""How far a number moves when other images of the same kind had been judged (Efron's bootstrap)."""

import numpy as np
import torch
from torch import Tensor

from worker.stages.randomness import numpy_generator

RESAMPLES = 200
WORDS = "bootstrap over images"
"""What a `Cell` calls such an interval."""


def bootstrap_weights(count: int, seed: int, resamples: int = RESAMPLES) -> Tensor:
    """float64 (resamples, count): how often each of `count` images is drawn, with replacement; every row sums to it."""
    generator = numpy_generator(seed, "bootstrap")
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    return torch.from_numpy(drawn.astype(np.float64))


def percentile_interval(resampled: Tensor, confidence: float, around: float | None = None) -> tuple[float, float]:
    """The middle share `confidence` of the values (resamples,), shares in 0..1; NaN among them are left out.

    `around` is the value measured on the images themselves. Given it, the interval is moved so that the samples' mean
    falls on it: an average precision rises where a rare object is drawn twice, and a class that no sample shows drops
    out of a mean, so samples may all lie on one side of what was measured.
    """
    values = resampled.double().cpu()
    tail = (1 - confidence) / 2
    low, high = torch.nanquantile(values, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    moved = 0.0 if around is None else around - float(values.nanmean())
    return min(1.0, max(0.0, low + moved)), min(1.0, max(0.0, high + moved))
