"""Non-linear probes: frozen up to a layer, everything after it new and trained (paper, Table 6; SPEC 8.6).

All columns learn at once from the same crops, so the frozen layers run once a step, whatever the number of columns.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.backbone import Backbone, build_backbone
from models.checkpoint import CheckpointError, load_classifier
from models.heads import ClassifierHead
from models.pixels import Pixels
from worker.config.probe import TAPS, NonlinearProtocol
from worker.data.store import ImageStore
from worker.evaluation.finetuning import (
    Batch,
    CrossEntropy,
    LabelledImages,
    Learner,
    Pulse,
    Recipe,
    fit,
    half_cosine,
    new_head,
    own_randomness,
)
from worker.evaluation.score import Outcome, outcome
from worker.evaluation.split import ProbeSplit
from worker.evaluation.taps import View
from worker.evaluation.ten_crops import mean_over_views
from worker.stages.contract import Context
from worker.stages.frozen import opened_checkpoint, weights_digest
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import Precision, autocast, fast_arithmetic
from worker.stages.randomness import derived_seed

HEAD_COLUMNS = ("fc6", "fc7")
POOLED = 6
"""Side of the map that fc6 reads."""


def run_nonlinear(
    protocol: NonlinearProtocol,
    checkpoint: Path,
    store: ImageStore,
    split: ProbeSplit,
    view: View,
    device: torch.device,
    precision: Precision,
    context: Context,
) -> dict[str, Outcome]:
    """Column -> what the network tells right whose layers up to that column are the checkpoint's, frozen.

    Training sees random crops, half of them mirrored; at test the softmax of `protocol.crops` views is averaged.
    Columns that the checkpoint lacks (fc6, fc7 without a classifier) are absent, and logged. The rate falls along a
    half cosine; new fully connected layers have batch norm where the convolutions have it (our choices).

    Raises `Stopped`, and `StageError` with diverged, out_of_memory, artifact_corrupt.
    """
    frozen = FrozenLayers.open(checkpoint, device, precision)
    columns = _available(protocol, frozen, context)
    before = frozen.digest()
    with machine_errors("retraining layers"), fast_arithmetic(device), own_randomness(device):
        found = _Columns(protocol, columns, frozen, store, split, view, context).outcomes()
    unchanged = frozen.digest() == before
    return {column: replace(result, trunk_unchanged=unchanged) for column, result in found.items()}


def _available(protocol: NonlinearProtocol, frozen: "FrozenLayers", context: Context) -> list[str]:
    for column in protocol.columns:
        if column not in frozen.ends:
            context.log(f"column {column} is left out: the checkpoint has no such layer", "warning")
    return [column for column in protocol.columns if column in frozen.ends]


@dataclass(frozen=True)
class FrozenLayers:
    """All layers of a checkpoint in one row, in eval mode and without gradients."""

    backbone: Backbone
    layers: nn.Sequential
    """The convolutions; with a classifier also its average pooling and fully connected layers."""
    ends: dict[str, int]
    """Column -> leading layers that make its map."""
    widths: dict[str, int]
    """fc column -> its values."""
    pixels: Pixels
    device: torch.device
    precision: Precision

    @classmethod
    def open(cls, checkpoint: Path, device: torch.device, precision: Precision) -> "FrozenLayers":
        """Raises `StageError(artifact_corrupt)`; a checkpoint without a readable classifier has no fc columns."""
        record, backbone = opened_checkpoint(checkpoint)
        ends: dict[str, int] = {column: backbone.tap_end(column) for column in TAPS}
        widths: dict[str, int] = {}
        layers = list(backbone.features)
        head = _classifier(checkpoint)
        if head is not None:
            layers += [head.avgpool, nn.Flatten(), *head.classifier]
            activations = [place + 1 for place, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
            ends |= dict(zip(HEAD_COLUMNS, activations[-len(HEAD_COLUMNS) :], strict=True))
            widths = dict.fromkeys(HEAD_COLUMNS, head.width)
        row = nn.Sequential(*layers).eval().requires_grad_(False)
        row.to(device).to(memory_format=torch.channels_last)
        return cls(backbone, row, ends, widths, record.pixels, device, precision)

    @torch.no_grad()
    def maps(self, images: Tensor, columns: Sequence[str]) -> dict[str, Tensor]:
        """uint8 (N, 3, crop, crop) -> the asked columns' maps, after ReLU; deeper layers don't run."""
        wanted = {self.ends[column]: column for column in columns}
        found: dict[str, Tensor] = {}
        with autocast(self.precision, self.device):
            x = self.pixels.apply(images).contiguous(memory_format=torch.channels_last)
            for done, layer in enumerate(self.layers[: max(wanted)], start=1):
                x = layer(x)
                if done in wanted:
                    found[wanted[done]] = x
        return found

    def digest(self) -> str:
        return weights_digest(self.layers)

    def new_layers_after(self, column: str, width: int, classes: int) -> nn.Sequential:
        """Everything that follows `column`, with fresh weights from torch's global generator."""
        norm = self.backbone.config.norm == "batch"
        if column in HEAD_COLUMNS:
            hidden = len(HEAD_COLUMNS) - 1 - HEAD_COLUMNS.index(column)
            return new_head(self.widths[column], hidden, width, classes, norm)
        convolutions = build_backbone(self.backbone.config).features[self.ends[column] :]
        head = new_head(self.backbone.out_channels * POOLED**2, len(HEAD_COLUMNS), width, classes, norm)
        return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(POOLED), nn.Flatten(), *head)


def _classifier(checkpoint: Path) -> ClassifierHead | None:
    try:
        return load_classifier(checkpoint)[2]
    except CheckpointError:
        return None


class _Columns:
    """All columns of one checkpoint, learning side by side, one seed after the other."""

    def __init__(
        self,
        protocol: NonlinearProtocol,
        columns: list[str],
        frozen: FrozenLayers,
        store: ImageStore,
        split: ProbeSplit,
        view: View,
        context: Context,
    ) -> None:
        self._protocol = protocol
        self._columns = columns
        self._frozen = frozen
        self._teach = LabelledImages(store, split, np.flatnonzero(~split.held_out), view, frozen.device)
        self._judge = LabelledImages(store, split, np.flatnonzero(split.held_out), view, frozen.device)
        self._classes = len(split.classes)
        self._batch = min(protocol.training_batch, len(self._teach))
        self._steps = max(1, round(protocol.epochs * (len(self._teach) // self._batch)))
        self._pulse = Pulse(context, len(protocol.seeds) * self._steps)

    def outcomes(self) -> dict[str, Outcome]:
        if not self._columns:
            return {}
        started = time.monotonic()
        said: dict[str, list[Tensor]] = {column: [] for column in self._columns}
        losses: dict[str, float] = {}
        for seed in self._protocol.seeds:
            learners = {column: self._learner(column, seed) for column in self._columns}
            losses = fit(learners, self._batches(seed), self._steps, self._pulse, f"loss_{seed}")
            for column, probabilities in self._probabilities(learners).items():
                said[column].append(probabilities)
        seconds = time.monotonic() - started
        facts = {"steps": self._steps, "batch": self._batch, "lr": self._protocol.lr, "seconds_of_all_columns": seconds}
        return {
            column: outcome(said[column], self._judge.labels, loss=losses[column], **facts) for column in self._columns
        }

    def _learner(self, column: str, seed: int) -> Learner:
        torch.manual_seed(derived_seed(seed, f"layers after {column}"))
        layers = self._frozen.new_layers_after(column, self._protocol.width, self._classes)
        recipe = Recipe(self._protocol.lr, self._protocol.weight_decay, half_cosine)
        return Learner(layers, recipe, seed, column, self._frozen.device, self._frozen.precision)

    def _batches(self, seed: int) -> Iterator[Batch]:
        for crops, labels in self._teach.shown(self._batch, self._steps, seed):
            yield Batch(self._frozen.maps(crops, self._columns), CrossEntropy(labels))

    def _probabilities(self, learners: dict[str, Learner]) -> dict[str, Tensor]:
        """Column -> (judging images, classes), the mean over the views of their softmax."""

        def predict(crops: Tensor) -> Tensor:
            maps = self._frozen.maps(crops, self._columns)
            return torch.stack([learners[column].logits(maps[column]).softmax(1) for column in self._columns])

        parts = [
            mean_over_views(predict, images, self._judge.crop, self._protocol.crops)
            for images in self._judge.in_order(self._protocol.batch)
        ]
        return dict(zip(self._columns, torch.cat(parts, dim=1), strict=True))
