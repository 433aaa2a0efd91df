"""The whole network learns from a share of the labels."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.pixels import Pixels
from worker.config.probe import LowShotProtocol
from worker.evaluation.finetuning import Batch, CrossEntropy, fit, own_randomness
from worker.evaluation.journal import Journal
from worker.evaluation.labelled_images import LabelledImages, probe_fingerprint
from worker.evaluation.learner import Learner, Recipe, half_cosine
from worker.evaluation.new_layers import DROPOUT, check_input, new_head
from worker.evaluation.pulse import Pulse
from worker.evaluation.score import Outcome, outcome, packed_outcome, unpacked_outcome
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subject import Subject
from worker.evaluation.subset import teaching_subset
from worker.stages.crops import centre_crops
from worker.stages.frozen import opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import fast_arithmetic
from worker.stages.randomness import derived_seed

LOW_SHOT_BATCH = 64
LOW_SHOT_DECAY = 5e-4


def low_shot_finetuning(protocol: LowShotProtocol, subject: Subject, split: ProbeSplit) -> dict[str, Outcome]:
    """The whole network learns from a share of the labels; columns `finetune_<share>`.

    The checkpoint's convolutions under a new linear layer on the 6 x 6 map after pool5: AlexNet's large layers don't
    learn from a handful of images. Random crops and mirroring, a half cosine, batch norm in training mode; judged on
    the centre crop (our choices). A stopped evaluation goes on where it was.
    """
    journal = Journal(subject.context, probe_fingerprint(protocol, subject, split))
    with machine_errors("fine-tuning"), fast_arithmetic(subject.device), own_randomness(subject.device):
        return _LowShots(protocol, subject, split, journal).outcomes()


class _LowShots:
    """A network for every share of the labels and every seed."""

    def __init__(self, protocol: LowShotProtocol, subject: Subject, split: ProbeSplit, journal: Journal) -> None:
        self._protocol = protocol
        self._subject = subject
        self._split = split
        self._journal = journal
        self._held_out = self._images(split.held_out)
        self._each = protocol.steps + self._held_out.batches(protocol.batch)
        self._pulse = Pulse(subject.context, len(protocol.shares) * len(protocol.seeds) * self._each)

    def outcomes(self) -> dict[str, Outcome]:
        return {f"finetune_{share:g}": self._of_share(share) for share in self._protocol.shares}

    def _of_share(self, share: float) -> Outcome:
        protocol, taught = self._protocol, []
        for seed in protocol.seeds:
            rows = teaching_subset(self._split, self._subject.store.paths, share, seed)
            name = f"finetune_{share:g}_{seed}"
            make = partial(self._judged, name, seed, rows)
            taught.append(self._journal.result(name, make, self._pulse, self._each))
        return unpacked_outcome(taught, labels=int(rows.sum()), steps=protocol.steps, lr=protocol.lr)

    def _judged(self, name: str, seed: int, rows: NDArray[np.bool_]) -> dict[str, Any]:
        """What a network tells right that learnt from `rows` of the split."""
        learner, pixels = self._learner(seed)
        images = self._images(rows)

        def batches(first: int) -> Iterator[Batch]:
            for crops, labels in images.shown(LOW_SHOT_BATCH, self._protocol.steps, seed, first):
                yield Batch({"network": pixels.apply(crops)}, CrossEntropy(labels))

        fit({"network": learner}, batches, self._protocol.steps, self._pulse, self._journal, name)
        parts = []
        for whole in self._held_out.in_order(self._protocol.batch):
            parts.append(learner.logits(pixels.apply(centre_crops(whole, self._subject.view.crop))))
            self._pulse.beat()
        return packed_outcome(outcome([torch.cat(parts)], self._held_out.labels))

    def _learner(self, seed: int) -> tuple[Learner, Pixels]:
        """With the pixels it wants."""
        record, backbone = opened_checkpoint(self._subject.checkpoint)
        check_input(record, self._subject.view.crop)
        torch.manual_seed(derived_seed(seed, "new layers"))
        head = new_head(backbone.out_channels * 36, 0, 0, len(self._split.classes))
        network = nn.Sequential(backbone, nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(DROPOUT), *head)
        recipe = Recipe(self._protocol.lr, LOW_SHOT_DECAY, half_cosine)
        return Learner(network, recipe, seed, "network", self._subject.device, self._subject.precision), record.pixels

    def _images(self, rows: NDArray[np.bool_]) -> LabelledImages:
        return LabelledImages(self._subject, self._split, np.flatnonzero(rows))
