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


def percentile_interval(resampled: Tensor, confidence: float) -> tuple[float, float]:
    """The middle share `confidence` of the values (resamples,); NaN among them are left out."""
    tail = (1 - confidence) / 2
    low, high = torch.nanquantile(resampled.double().cpu(), torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return float(low), float(high)
