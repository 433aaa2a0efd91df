"""From right and wrong, image by image, to the cells of a score sheet.

Protocols that classify held-out images return `dict[str, Outcome]`, column -> outcome; a column that can't be had is
absent, and logged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from worker.config.scores import Cell
from worker.evaluation.interval import quantile, student_quantile, wilson

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What one column's probes told about the held-out images.

    Rows are the protocol's seeds, in order; columns are the images `split.images[split.held_out]`, in order.
    """

    right: Shares
    """(seeds, n): 1 where the first guess is right, else 0."""
    top5: Shares | None = None
    """(seeds, n): 1 where the truth is among the five best guesses; None where there are at most five classes."""
    trunk_unchanged: bool | None = None
    """The frozen layers' digest is equal before and after; None where nothing is frozen."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON facts of this column: dimensions, learning rate, loss, ..."""


@dataclass(frozen=True)
class Findings:
    """What a protocol found; with where it comes from it is a score sheet."""

    metric: str
    """Of `cells`."""
    cells: Mapping[str, Cell]
    further: Mapping[str, Mapping[str, Cell]] = field(default_factory=dict)
    right: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Column -> (n,): mean over the seeds of 1 for right and 0 for wrong."""
    trunk_unchanged: bool | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)
    """File name -> picture, kept beside the numbers."""


def outcome(scores: Sequence[Tensor] | Tensor, truth: Tensor, **facts: Any) -> Outcome:  # noqa: ANN401
    """Of `(n, classes)` scores per seed, and the classes `truth`, int64 `(n,)` on the same device."""
    right = np.stack([top_right(found, truth, 1) for found in scores])
    many = scores[0].shape[1] > 5
    return Outcome(right, np.stack([top_right(found, truth, 5) for found in scores]) if many else None, facts=facts)


def packed_outcome(found: Outcome) -> dict[str, Any]:
    """Tensors of what was right, which a saved state may hold; its facts are left out."""
    top5 = None if found.top5 is None else torch.from_numpy(found.top5)
    return {"right": torch.from_numpy(found.right), "top5": top5}


def unpacked_outcome(parts: Sequence[Mapping[str, Any]], **facts: Any) -> Outcome:  # noqa: ANN401
    """The rows of several packed outcomes under each other."""
    top5 = [part["top5"] for part in parts]
    return Outcome(
        torch.cat([part["right"] for part in parts]).numpy(),
        None if any(found is None for found in top5) else torch.cat(top5).numpy(),
        facts=facts,
    )


def top_right(scores: Tensor, truth: Tensor, guesses: int) -> Shares:
    """(n,): 1 where `truth` is among the `guesses` highest scores (n, classes), else 0."""
    best = scores.topk(min(guesses, scores.shape[1]), dim=1).indices
    found: Shares = (best == truth[:, None]).any(1).double().cpu().numpy()
    return found


def findings(outcomes: Mapping[str, Outcome], seeds: Sequence[int], confidence: float) -> Findings:
    """Top-1 with Wilson's interval over the images; further Student's over the seeds, and top-5 where there is one."""
    further = {
        "top1 over seeds": {
            column: seeds_cell(found.right.mean(axis=1), found.right.shape[1], seeds, confidence)
            for column, found in outcomes.items()
            if len(found.right) > 1
        },
        "top5": {
            column: share_cell(found.top5, seeds, confidence)
            for column, found in outcomes.items()
            if found.top5 is not None
        },
    }
    told = [found.trunk_unchanged for found in outcomes.values() if found.trunk_unchanged is not None]
    return Findings(
        metric="top1",
        cells={column: share_cell(found.right, seeds, confidence) for column, found in outcomes.items()},
        further={metric: cells for metric, cells in further.items() if cells},
        right={column: found.right.mean(axis=0).astype(np.float32) for column, found in outcomes.items()},
        trunk_unchanged=all(told) if told else None,
        facts={"columns": {column: dict(found.facts) for column, found in outcomes.items()}},
    )


def share_cell(right: Shares, seeds: Sequence[int], confidence: float) -> Cell:
    """Of `right` (seeds, n); one row for other than one seed means that no seed plays a part."""
    found = wilson(float(right.mean()), right.shape[1], confidence)
    return Cell(
        value=found.top1,
        low=found.low,
        high=found.high,
        interval="Wilson over images",
        n=found.n,
        per_seed=_per_seed(right.mean(axis=1), seeds),
    )


def seeds_cell(values: Shares, n: int, seeds: Sequence[int], confidence: float) -> Cell:
    """Of one value per seed, `(seeds,)`, at least two: what other seeds would find on the same `n` images."""
    centre = float(values.mean())
    half = student_quantile(confidence, len(values) - 1) * float(values.std(ddof=1)) / len(values) ** 0.5
    return Cell(
        value=centre,
        low=max(0.0, centre - half),
        high=min(1.0, centre + half),
        interval="Student over seeds",
        n=n,
        per_seed=_per_seed(values, seeds),
    )


def mean_cell(values: Shares, confidence: float) -> Cell:
    """Of one share 0..1 per image, `(n,)`."""
    centre = float(values.mean())
    half = quantile(confidence) * float(values.std()) / len(values) ** 0.5
    return Cell(
        value=centre,
        low=max(0.0, centre - half),
        high=min(1.0, centre + half),
        interval="normal over images",
        n=len(values),
    )


def _per_seed(values: Shares, seeds: Sequence[int]) -> dict[str, float]:
    if len(values) != len(seeds):
        return {}
    return {str(seed): float(value) for seed, value in zip(seeds, values, strict=True)}
