"""Non-linear probes: frozen up to a layer, everything after it new and trained (paper, Table 6; SPEC 8.6).

All columns learn at once from the same crops, so the frozen layers run once a step, whatever the number of columns.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.config.probe import NonlinearProtocol
from worker.evaluation.finetuning import Batch, CrossEntropy, fit, own_randomness
from worker.evaluation.frozen_layers import FrozenLayers
from worker.evaluation.journal import Journal
from worker.evaluation.labelled_images import LabelledImages, probe_fingerprint
from worker.evaluation.learner import Learner, Recipe, half_cosine
from worker.evaluation.new_layers import check_input
from worker.evaluation.pulse import Pulse
from worker.evaluation.score import Outcome, outcome, packed_outcome, unpacked_outcome
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subject import Subject
from worker.evaluation.ten_crops import mean_over_views
from worker.stages.contract import Context
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import fast_arithmetic
from worker.stages.randomness import derived_seed


def run_nonlinear(protocol: NonlinearProtocol, subject: Subject, split: ProbeSplit) -> dict[str, Outcome]:
    """Column -> what the network tells right whose layers up to that column are the checkpoint's, frozen.

    Training sees random crops, half of them mirrored; at test the softmax of `protocol.crops` views is averaged.
    Columns that the checkpoint lacks (fc6, fc7 without a classifier) are absent, and logged. The rate falls along a
    half cosine; new fully connected layers have batch norm where the convolutions have it (our choices). A stopped
    evaluation goes on where it was.

    Raises `Stopped`, and `StageError` with diverged, out_of_memory, disk_full, artifact_corrupt, bad_config (a crop too
    small).
    """
    device = subject.device
    frozen = FrozenLayers.open(subject.checkpoint, device, subject.precision)
    check_input(frozen.record, subject.view.crop)
    columns = _available(protocol, frozen, subject.context)
    before = frozen.digest()
    wanted = probe_fingerprint(protocol, subject, split)
    journal = Journal(subject.context, wanted, lambda: frozen.digest() == before)
    with machine_errors("retraining layers"), fast_arithmetic(device), own_randomness(device):
        found = _Columns(protocol, columns, frozen, subject, split, journal).outcomes()
    unchanged = journal.unchanged
    return {column: replace(result, trunk_unchanged=unchanged) for column, result in found.items()}


def _available(protocol: NonlinearProtocol, frozen: FrozenLayers, context: Context) -> list[str]:
    asked = dict.fromkeys(protocol.columns)
    for column in asked:
        if column not in frozen.ends:
            context.log(f"column {column} is left out: the checkpoint has no such layer", "warning")
    return [column for column in asked if column in frozen.ends]


class _Columns:
    """All columns of one checkpoint, learning side by side, one seed after the other."""

    def __init__(
        self,
        protocol: NonlinearProtocol,
        columns: list[str],
        frozen: FrozenLayers,
        subject: Subject,
        split: ProbeSplit,
        journal: Journal,
    ) -> None:
        self._protocol = protocol
        self._columns = columns
        self._frozen = frozen
        self._teach = LabelledImages(subject, split, np.flatnonzero(~split.held_out))
        self._judge = LabelledImages(subject, split, np.flatnonzero(split.held_out))
        self._classes = len(split.classes)
        self._batch = min(protocol.training_batch, len(self._teach))
        self._steps = max(1, round(protocol.epochs * (len(self._teach) // self._batch)))
        self._each = self._steps + self._judge.batches(protocol.batch)
        self._pulse = Pulse(subject.context, len(protocol.seeds) * self._each)
        self._journal = journal

    def outcomes(self) -> dict[str, Outcome]:
        if not self._columns:
            return {}
        found = [
            self._journal.result(f"loss_{seed}", partial(self._judged, seed), self._pulse, self._each)
            for seed in self._protocol.seeds
        ]
        seconds, losses = sum(one["seconds"] for one in found), found[-1]["losses"]
        facts = {"steps": self._steps, "batch": self._batch, "lr": self._protocol.lr, "seconds_of_all_columns": seconds}
        return {
            column: unpacked_outcome([one["columns"][column] for one in found], loss=losses[column], **facts)
            for column in self._columns
        }

    def _judged(self, seed: int) -> dict[str, Any]:
        """What every column's network tells right after learning."""
        learners = {column: self._learner(column, seed) for column in self._columns}
        training = fit(learners, partial(self._batches, seed), self._steps, self._pulse, self._journal, f"loss_{seed}")
        started = time.monotonic()
        columns = {
            column: packed_outcome(outcome([probabilities], self._judge.labels))
            for column, probabilities in self._probabilities(learners).items()
        }
        seconds = training.seconds + time.monotonic() - started
        return {"columns": columns, "losses": training.losses, "seconds": seconds}

    def _learner(self, column: str, seed: int) -> Learner:
        torch.manual_seed(derived_seed(seed, f"layers after {column}"))
        layers = self._frozen.new_layers_after(column, self._protocol.width, self._classes)
        recipe = Recipe(self._protocol.lr, self._protocol.weight_decay, half_cosine)
        return Learner(layers, recipe, seed, column, self._frozen.device, self._frozen.precision)

    def _batches(self, seed: int, first: int) -> Iterator[Batch]:
        for crops, labels in self._teach.shown(self._batch, self._steps, seed, first):
            yield Batch(self._frozen.maps(crops, self._columns), CrossEntropy(labels))

    def _probabilities(self, learners: dict[str, Learner]) -> dict[str, Tensor]:
        """Column -> (judging images, classes), the mean over the views of their softmax."""

        def predict(crops: Tensor) -> Tensor:
            maps = self._frozen.maps(crops, self._columns)
            return torch.stack([learners[column].logits(maps[column]).softmax(1) for column in self._columns])

        parts = []
        for images in self._judge.in_order(self._protocol.batch):
            parts.append(mean_over_views(predict, images, self._judge.crop, self._protocol.crops))
            self._pulse.beat()
        return dict(zip(self._columns, torch.cat(parts, dim=1), strict=True))
