"""Average precision as PASCAL VOC measures it: how early a ranking shows what is asked for.

Precision and recall are taken at every distinct score, so images (or boxes) of equal score count at once and their
order never matters. Precision is then interpolated: at a recall it is the best that is reached at that recall or a
higher one. Two rules read the curve:

- `voc07`: mean of the interpolated precision at the recalls 0, 0.1, ..., 1 (Everingham et al. 2010, VOC2007 to 2009);
- `all-point`: area below the interpolated curve (VOC2010 and later).

scikit-learn's `average_precision_score` (which the published VOC classification code calls, SPEC 8.1) is the area below
the curve *without* interpolation: the sum over distinct scores of precision times the gain in recall. It is never above
`all-point`, and equal to it where precision only falls along the ranking.
"""

from typing import Literal

import torch
from torch import Tensor

ApRule = Literal["voc07", "all-point"]
RECALLS = 10
"""`voc07` looks at the recalls 0/10, 1/10, ..., 10/10."""


def average_precision(
    scores: Tensor,
    truths: Tensor,
    rule: ApRule,
    ignored: Tensor | None = None,
    positives: float | None = None,
) -> float:
    """0..1 of one class: `scores` (n,), the higher the surer; `truths` bool (n,), true where it is what is asked for.

    What is `ignored`, bool (n,), counts neither for nor against. `positives` is the number of all things asked for
    where some of them have no score (objects that no box was proposed for); None: those among `truths`. NaN where there
    are none at all.
    """
    weights = torch.ones(1, len(scores), device=scores.device)
    total = None if positives is None else torch.tensor([positives], dtype=torch.float64, device=scores.device)
    return float(weighted_average_precision(scores, truths, weights, rule, ignored, total))


def weighted_average_precision(
    scores: Tensor,
    truths: Tensor,
    weights: Tensor,
    rule: ApRule,
    ignored: Tensor | None = None,
    positives: Tensor | None = None,
) -> Tensor:
    """`average_precision` of many samples at once, float64 (samples,): `weights` (samples, n) says how often each holds
    every row, 0 for not at all.

    Whole weights give exactly the average precision of the rows repeated that often: a bootstrap costs one sort.
    `positives` (samples,) as there. Computed on the device of `scores`.
    """
    counted = torch.ones_like(truths) if ignored is None else ~ignored
    order = scores[counted].argsort(descending=True)
    ranked, hits = scores[counted][order], truths[counted][order].double()
    held = weights.to(hits.device, torch.float64)[:, counted][:, order]
    found, shown = (held * hits).cumsum(1), held.cumsum(1)
    total = held @ hits if positives is None else positives.to(hits)
    precision = torch.where(_last_of_equals(ranked) & (shown > 0), found / shown.clamp_min(1e-300), 0.0)
    read = _eleven_points if rule == "voc07" else _area
    return torch.where(total > 0, read(precision, found, total), torch.nan)


def _last_of_equals(ranked: Tensor) -> Tensor:
    """True where the next score is another, bool (n,)."""
    last = torch.ones_like(ranked, dtype=torch.bool)
    last[:-1] = ranked[1:] != ranked[:-1]
    return last


def _eleven_points(precision: Tensor, found: Tensor, total: Tensor) -> Tensor:
    """Precisions (samples, n) and the number found so far -> (samples,)."""
    points = []
    for tenth in range(RECALLS + 1):
        # Compared as whole numbers: as a quotient, 3 of 10 may fall short of a recall of 0.3.
        reached = RECALLS * found >= tenth * total[:, None]
        points.append(_largest(torch.where(reached, precision, 0.0)))
    return torch.stack(points).mean(0)


def _area(precision: Tensor, found: Tensor, total: Tensor) -> Tensor:
    """Precisions (samples, n) and the number found so far -> (samples,)."""
    interpolated = precision.flip(1).cummax(1).values.flip(1)
    gained = found.diff(dim=1, prepend=torch.zeros_like(total)[:, None])
    return (interpolated * gained).sum(1) / total.clamp_min(1e-300)


def _largest(values: Tensor) -> Tensor:
    """Of each row; 0 for a row without values."""
    return values.amax(1) if values.shape[1] else values.new_zeros(len(values))
