"""Images with classes, as fine-tuning and its judging read them."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from worker.config.probe import Protocol
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.evaluation.finetuning import training_rows
from worker.evaluation.image_cache import Rows, in_order
from worker.evaluation.journal import fingerprint
from worker.evaluation.split import ProbeSplit
from worker.evaluation.taps import View
from worker.stages.crops import mirrored_at_random, random_crops
from worker.stages.precision import Precision
from worker.stages.randomness import torch_generator


class LabelledImages:
    """The images of a split that teach, or those that judge, with their classes, on the device."""

    def __init__(self, store: ImageStore, split: ProbeSplit, rows: Rows, view: View, device: torch.device) -> None:
        """`rows` are positions in `split.images`."""
        self.labels = torch.from_numpy(split.labels[rows]).to(device)
        self.crop = view.crop
        self._images = split.images[rows]
        self._side = view.side
        self._store = store

    def __len__(self) -> int:
        return len(self.labels)

    def shown(self, batch: int, steps: int, seed: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """`steps` random batches, less the `first` ones: uint8 random crops (N, 3, crop, crop), half of them mirrored,
        and their classes."""
        order = list(training_rows(len(self), batch, steps, seed))[first:]
        for step, (images, rows) in enumerate(zip(self._read(order), order, strict=True), start=first):
            generator = torch_generator(seed, "crops", step)
            crops = mirrored_at_random(random_crops(images, self.crop, 1, generator), generator)
            yield crops, self.labels[torch.from_numpy(rows).to(self.labels.device, non_blocking=True)]

    def batches(self, batch: int) -> int:
        """How many `in_order` yields."""
        return math.ceil(len(self) / batch)

    def in_order(self, batch: int) -> Iterator[Tensor]:
        """Whole images, uint8 (N, 3, side, side)."""
        yield from self._read(list(in_order(len(self), batch)))

    def _read(self, rows: Sequence[Rows]) -> Iterator[Tensor]:
        with BatchLoader(self._store, [self._images[part] for part in rows], self._side, self.labels.device) as loader:
            yield from loader


def probe_fingerprint(
    protocol: Protocol, checkpoint: Path, store: ImageStore, split: ProbeSplit, view: View, precision: Precision
) -> str:
    """Names all that an evaluation on labelled images depends on."""
    parts = (split.images, split.labels, split.held_out)
    digests = [hashlib.sha256(part.tobytes()).hexdigest() for part in parts]
    return fingerprint(protocol, checkpoint, store.digest, digests, view.side, view.crop, precision)
