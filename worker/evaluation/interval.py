"""Confidence intervals of accuracies, and of differences between two networks on the same images."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


class Accuracy(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    top1: float
    """Share of the images that were told right, 0..1."""
    low: float
    high: float
    n: int


class Difference(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    difference: float
    """Of the accuracies: positive where the first is better."""
    low: float
    high: float
    beyond: bool
    """The interval leaves out zero."""


def wilson(share: float, n: int, confidence: float) -> Accuracy:
    """Wilson's score interval of `share` right among `n` images (E. B. Wilson, 1927); sound near 0 and 1 too."""
    z = quantile(confidence)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Accuracy(top1=share, low=max(0.0, float(centre - half)), high=min(1.0, float(centre + half)), n=n)


def paired_difference(first: NDArray[np.float64], second: NDArray[np.float64], confidence: float) -> Difference:
    """Interval of mean(first - second), where both judged the same images, `(n,)` shares right in 0..1 each.

    With one probe a network the shares are 0 or 1 and this is the interval of Bonett and Price (2012) for paired
    proportions: normal, after one imagined image for either side, so that few images never look like certainty. With
    several probes a network they are means over probes.
    """
    apart = np.concatenate([first - second, [1.0, -1.0]])
    half = quantile(confidence) * float(apart.std()) / np.sqrt(len(apart))
    low, high = float(apart.mean() - half), float(apart.mean() + half)
    difference = float((first - second).mean())
    return Difference(difference=difference, low=low, high=high, beyond=low > 0 or high < 0)


def quantile(confidence: float) -> float:
    """Standard deviations of a normal distribution to either side that hold the share `confidence`: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def student_quantile(confidence: float, degrees: int) -> float:
    """`quantile` for Student's distribution of so many degrees of freedom: 4.30 for 0.95 and 2; found by bisection."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_share(middle, degrees) < confidence else (low, middle)
    return math.tan(low) * math.sqrt(degrees)


def _student_share(angle: float, degrees: int) -> float:
    """Of Student's distribution within +-t, for angle = atan(t / sqrt(degrees)) (Abramowitz and Stegun, 26.7.3-4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for power in range(2 + odd, degrees, 2):
        term *= cosine * cosine * (power - 1) / power
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
