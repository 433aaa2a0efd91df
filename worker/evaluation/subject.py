"""What is judged: one checkpoint, looking at one labelled store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import CheckpointRecord
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.evaluation.contenders import SEEN_SHARE, view_of
from worker.evaluation.features import StoredFeatures, compute_features
from worker.evaluation.resize import How
from worker.evaluation.taps import Shape, View
from worker.stages.contract import Context, StageError, Stopped
from worker.stages.frozen import FrozenNetwork, check_crop, opened_checkpoint
from worker.stages.precision import Precision, fast_arithmetic


@dataclass(frozen=True)
class Subject:
    store: ImageStore
    checkpoint: Path
    record: CheckpointRecord
    view: View
    device: torch.device
    precision: Precision
    batch: int
    """Images per forward pass."""
    context: Context

    def network(self) -> FrozenNetwork:
        record, backbone = opened_checkpoint(self.checkpoint)
        return FrozenNetwork(backbone, record.pixels, self.device, self.precision)

    def features(
        self,
        network: FrozenNetwork,
        images: NDArray[np.int64],
        shapes: Mapping[str, Shape],
        how: How,
        after_batch: Callable[[], None],
    ) -> dict[str, StoredFeatures]:
        """`compute_features` in the quickest arithmetic; files that they may need lie in `scratch`."""
        with fast_arithmetic(self.device):
            return compute_features(
                network, self.store, images, self.view, shapes, how, self.batch, self.scratch, self.device, after_batch
            )

    @property
    def scratch(self) -> Path:
        """A folder that may be removed at the end."""
        return self.context.workdir / "features"

    def batches(self, images: NDArray[np.int64]) -> int:
        return -(-len(images) // self.batch)


class Steps:
    """Counts what is done, and stops when asked to."""

    def __init__(self, total: int, context: Context) -> None:
        self._done, self._total, self._context = 0, total, context

    def __call__(self) -> None:
        """One more; raises `Stopped`."""
        self._done += 1
        self._context.progress(self._done, self._total, "steps")
        if self._context.should_stop():
            raise Stopped


def chosen_view(record: CheckpointRecord, store: ImageStore, side: int | None, crop: int | None) -> View:
    """What is not asked for is chosen: the checkpoint's crop, on images that it shows 224/256 of.

    Raises `StageError(bad_config)` for a crop larger than its image.
    """
    if crop is None:
        view = view_of(record, store)
        return view if side is None else View(side, min(side, record.crop))
    if crop > store.side and side is None:
        raise StageError(Reason.bad_config, f"A crop of {crop} pixels can't be cut from images of {store.side} pixels.")
    view = View(min(store.side, round(crop / SEEN_SHARE)) if side is None else side, crop)
    check_crop(view.side, view.crop)
    return view
