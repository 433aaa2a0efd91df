"""How often which colour is seen in a sample of the images, and what follows from it for guessing."""

import torch
from torch import Tensor

from worker.pretext.ab_bins import entropy, rebalancing

GREYEST = 5.0
"""An image without an a or b beyond it is grey; its colours teach nothing (as in the published training)."""


def coloured(ab: Tensor) -> Tensor:
    """(N, 2, h, w) -> bool (N,): the images that aren't grey."""
    return ab.abs().amax((1, 2, 3)) > GREYEST


class ColourSample:
    """Counts softly encoded colours by their nearest bin, because the loss weights them by that one."""

    def __init__(self, bins: int) -> None:
        self.images = 0
        self.grey = 0
        self._bins = bins
        self._table = torch.zeros(bins * bins, dtype=torch.float64)
        """Row by nearest bin, column by bin: the sum of the shares."""
        self._entropies = torch.zeros(bins, dtype=torch.float64)

    def add(self, bins: Tensor, shares: Tensor, ab: Tensor) -> None:
        """`bins` and `shares` (N, neighbours, h, w) of the colours `ab` (N, 2, h, w); grey images are only counted."""
        kept = coloured(ab)
        self.images += len(ab)
        self.grey += len(ab) - int(kept.sum())
        bins, shares = bins[kept], shares[kept].double()
        nearest = bins[:, :1]
        cells = (nearest * self._bins + bins).flatten()
        self._table += torch.bincount(cells, shares.flatten(), minlength=self._bins**2)
        self._entropies += torch.bincount(nearest.flatten(), entropy(shares, 1).flatten(), minlength=self._bins)

    @property
    def is_grey(self) -> bool:
        return self.grey == self.images

    def weights(self, uniform: float) -> Tensor:
        """float32 (bins,): of a place by its nearest bin (`rebalancing`); equal where no colour was seen."""
        if self.is_grey:
            return torch.ones(self._bins)
        shares = self._counts().sum(0)
        return rebalancing(shares / shares.sum(), uniform).float()

    def best_guess(self, weights: Tensor) -> Tensor:
        """The best answer that is the same everywhere, (bins,): the weighted colours. Its loss is its entropy."""
        seen = (weights[:, None] * self._counts()).sum(0)
        return seen / seen.sum()

    def floor(self, weights: Tensor) -> float:
        """Weighted loss of a perfect answer: softly encoded colours have an entropy of their own."""
        return float((weights * self._entropies).sum() / (weights * self._counts().sum(1)).sum())

    def _counts(self) -> Tensor:
        return self._table.view(self._bins, self._bins)


def tell_of_grey(grey: int, images: int) -> tuple[str, bool]:
    """A sentence about how many of the sampled images are grey, and whether it is a warning."""
    if grey == images:
        return (
            f"All {images} sampled images are grey: there is no colour to learn, so this task teaches the network "
            "next to nothing. Rotation, context or jigsaw++ suit grey images.",
            True,
        )
    told = f"{grey} of {images} sampled images are grey"
    return (f"{told}: they teach nothing about colour.", True) if 2 * grey > images else (f"{told}.", False)
