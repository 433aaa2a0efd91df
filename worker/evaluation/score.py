"""From right and wrong, image by image, to the cells of a score sheet.

Protocols that classify held-out images return `dict[str, Outcome]`, column -> outcome. Those kept elsewhere have one
signature each, which the stage `probe` calls:

    worker.evaluation.nonlinear.run_nonlinear(
        protocol: NonlinearProtocol, checkpoint: Path, store: ImageStore, split: ProbeSplit, view: View,
        device: torch.device, precision: Precision, context: Context,
    ) -> dict[str, Outcome]                         # columns of the protocol; one that can't be had is absent, and logged

    worker.evaluation.finetuning.low_shot_finetuning(
        protocol: LowShotProtocol, checkpoint: Path, store: ImageStore, split: ProbeSplit, view: View,
        device: torch.device, precision: Precision, context: Context,
    ) -> dict[str, Outcome]                         # columns `finetune_<share:g>`, taught by `teaching_subset`

Both report their own progress, and raise `Stopped` when asked to stop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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


def outcome(logits: Sequence[Tensor], truth: Tensor, **facts: Any) -> Outcome:  # noqa: ANN401
    """Of one `(n, classes)` tensor of scores per seed, and the classes `truth`, int64 `(n,)` on the same device."""
    right = np.stack([top_right(scores, truth, 1) for scores in logits])
    many = logits[0].shape[1] > 5
    return Outcome(right, np.stack([top_right(scores, truth, 5) for scores in logits]) if many else None, facts=facts)


def top_right(scores: Tensor, truth: Tensor, guesses: int) -> Shares:
    """(n,): 1 where `truth` is among the `guesses` highest scores (n, classes), else 0."""
    best = scores.topk(min(guesses, scores.shape[1]), dim=1).indices
    found: Shares = (best == truth[:, None]).any(1).double().cpu().numpy()
    return found
