"""Images with classes, as fine-tuning and its judging read them."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from worker.config.probe import Protocol
from worker.data.loader import BatchLoader
from worker.evaluation.finetuning import training_rows
from worker.evaluation.image_cache import Rows, in_order
from worker.evaluation.journal import fingerprint
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subject import Subject
from worker.stages.crops import mirrored_at_random, random_crops
from worker.stages.randomness import torch_generator


class LabelledImages:
    """The images of a split that teach, or those that judge, with their classes, on the device."""

    def __init__(self, subject: Subject, split: ProbeSplit, rows: Rows) -> None:
        """`rows` are positions in `split.images`."""
        self.labels = torch.from_numpy(split.labels[rows]).to(subject.device)
        self.crop = subject.view.crop
        self._images = split.images[rows]
        self._side = subject.view.side
        self._store = subject.store

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


def probe_fingerprint(protocol: Protocol, subject: Subject, split: ProbeSplit) -> str:
    """Names all that an evaluation on labelled images depends on."""
    parts = (split.images, split.labels, split.held_out)
    digests = [hashlib.sha256(part.tobytes()).hexdigest() for part in parts]
    view = subject.view
    return fingerprint(
        protocol, subject.checkpoint, subject.store.digest, digests, view.side, view.crop, subject.precision
    )
