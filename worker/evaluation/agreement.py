"""How far two groupings of the same images agree: mutual information, adjusted Rand index, purity."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Agreement:
    """The contingency table of two groupings, without its empty cells."""

    first: NDArray[np.int64]
    """(cells,): group in the first grouping."""
    second: NDArray[np.int64]
    counts: NDArray[np.int64]
    """(cells,): images in both groups."""

    @classmethod
    def of(cls, first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]) -> Self:
        """Group numbers from 0 of the same images, `(n,)` each."""
        width = int(second.max()) + 1
        cells, counts = np.unique(first.astype(np.int64) * width + second, return_counts=True)
        return cls(cells // width, cells % width, counts)

    def resampled(self, rng: np.random.Generator) -> "Agreement":
        """As many images, drawn with replacement."""
        total = self.counts.sum()
        return Agreement(self.first, self.second, rng.multinomial(total, self.counts / total))

    @property
    def sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Images in each group, empty groups included, of the first and of the second grouping."""
        first = np.bincount(self.first, self.counts).astype(np.int64)
        return first, np.bincount(self.second, self.counts).astype(np.int64)

    def normalised_mutual_information(self) -> float:
        """Mutual information over the mean of both entropies, 0..1; two groupings of one group each agree: 1."""
        first, second = self.sizes
        held = self.counts > 0
        joint = self.counts[held] / self.counts.sum()
        alone = first[self.first[held]] * second[self.second[held]] / self.counts.sum() ** 2
        mean = (_entropy(first) + _entropy(second)) / 2
        return max(0.0, float((joint * np.log(joint / alone)).sum())) / mean if mean > 0 else 1.0

    def adjusted_rand(self) -> float:
        """Share of pairs that both groupings treat alike, 0 for chance, 1 for equal groupings (Hubert and Arabie)."""
        first, second = self.sizes
        together, ours, theirs = _pairs(self.counts), _pairs(first), _pairs(second)
        pairs = _pairs(self.counts.sum(keepdims=True))
        expected = ours * theirs / pairs if pairs else 0.0
        highest = (ours + theirs) / 2
        return (together - expected) / (highest - expected) if highest != expected else 1.0

    def purity(self) -> float:
        """Share of images whose second group is the largest one of their first group."""
        best = np.zeros(int(self.first.max()) + 1, np.int64)
        np.maximum.at(best, self.first, self.counts)
        return float(best.sum() / self.counts.sum())


def _entropy(sizes: NDArray[np.int64]) -> float:
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-(shares * np.log(shares)).sum())


def _pairs(sizes: NDArray[np.int64]) -> float:
    return float((sizes * (sizes - 1) // 2).sum())
