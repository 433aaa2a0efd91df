"""VOC classification: a multi-label classifier, fine-tuned on photographs from a checkpoint (Table 3; SPEC 8.1)."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.config.reasons import Reason
from worker.config.transfer import VocClassificationProtocol
from worker.data.annotated import AnnotatedStore
from worker.evaluation.average_precision import ApRule
from worker.evaluation.bootstrap import bootstrap_weights
from worker.evaluation.canvases import Canvases, random_windows
from worker.evaluation.finetuning import Batch, fit, own_randomness, training_rows
from worker.evaluation.frozen_layers import HEAD_COLUMNS, POOL5, POOLED, FrozenLayers
from worker.evaluation.image_cache import in_order
from worker.evaluation.journal import Journal, fingerprint
from worker.evaluation.learner import Learner, Recipe
from worker.evaluation.multilabel import Judgement, Marks, label_rankings, read_marks
from worker.evaluation.new_layers import check_input, new_head
from worker.evaluation.pulse import Pulse
from worker.evaluation.transfer_result import TransferResult
from worker.stages.contract import Context, StageError
from worker.stages.frozen import layered, opened_checkpoint
from worker.stages.precision import resolved_precision
from worker.stages.randomness import derived_seed, torch_generator

PUBLISHED_CROP, LONGER_SIDE = 227, 500
"""The network's input, and the longer side of nearly all of VOC's photographs, pixels."""
NEW_STD, NEW_BIAS = 0.01, 0.1
CLIP_NORM = 10.0
COLUMN = "class"
TEST_BATCH = 64
FROZEN_BELOW: dict[Literal["all", "fc678", "fc8"], str | None] = {"all": None, "fc678": POOL5, "fc8": HEAD_COLUMNS[-1]}
"""Mode -> the last layer that doesn't learn."""
PUBLISHED_CLASSES = 20
_COMPARED = {
    "mode": "Trained layers:",
    "crop": "Input side",
    "min_scale": "Smallest scale",
    "max_scale": "Largest scale",
    "crops": "Views at test:",
    "iterations": "Iterations:",
    "batch": "Batch of",
    "lr": "Learning rate",
    "lr_halves": "Halvings of the rate:",
    "weight_decay": "Weight decay",
    "width": "Width of fc6 and fc7",
    "batch_norm": "Batch norm:",
}
_RULES: dict[ApRule, str] = {
    "voc07": "The AP is the mean of the interpolated precision at eleven recalls",
    "all-point": "The AP is the area below the interpolated curve",
}


def run_voc_classification(
    protocol: VocClassificationProtocol, checkpoint: Path, store: AnnotatedStore, device: torch.device, context: Context
) -> TransferResult:
    """Learns from the classes of `train_set`'s objects and is judged on those of `test_set`; one column, `class`.

    Convolutions are the checkpoint's. Mode `all` trains everything under new fc6, fc7, fc8; `fc678` those three alone;
    `fc8` one new layer on the checkpoint's own fc6 and fc7. Every new layer starts as N(0, 0.01) with bias 0.1.
    Images without a list of objects are left out and counted; a class that an image shows only in difficult objects is
    neither learnt nor judged there. A stopped evaluation goes on where it was.

    Raises `Stopped`, and `StageError` with bad_config (an unknown set or class, a crop too small, `fc8` without a
    classifier), bad_labels (no class to tell), too_few_images, diverged, disk_full.
    """
    frozen = FrozenLayers.open(checkpoint, device, resolved_precision("auto", device))
    check_input(frozen.record, protocol.crop)
    below = FROZEN_BELOW[protocol.mode]
    if below is not None and below not in frozen.ends:
        raise StageError(
            Reason.bad_config, "Mode fc8 needs a checkpoint with a classifier: this one has no fc6 and fc7."
        )
    before = frozen.digest()
    wanted = fingerprint(protocol, checkpoint, store.digest, frozen.precision)
    journal = Journal(context, wanted, None if below is None else lambda: frozen.digest() == before)
    data = _Data.read(protocol, store, device)
    with own_randomness(device):
        judged, facts = _Classification(protocol, checkpoint, frozen, data, context, journal).judgement()
    return _result(protocol, judged, facts, data, journal.unchanged)


@dataclass(frozen=True)
class _Data:
    train: Canvases
    test: Canvases
    train_marks: Marks
    test_marks: Marks
    """All marks lie on the device."""
    classes: list[str]
    unlearnt: list[str]
    """Asked for, or known to the store, but shown by no image of the training set."""
    test_ids: list[str]
    left_out: int
    """Images of either set without a list of objects."""

    @classmethod
    def read(cls, protocol: VocClassificationProtocol, store: AnnotatedStore, device: torch.device) -> "_Data":
        train, test = store.images(protocol.train_set), store.images(protocol.test_set)
        listed = len(train) + len(test)
        train, test = ([image for image in images if store.has_objects(image)] for images in (train, test))
        for name, images, least in ((protocol.train_set, train, 2), (protocol.test_set, test, 1)):
            if len(images) < least:
                message = f"The image set '{name}' has {len(images)} images with a list of objects, too few."
                raise StageError(Reason.too_few_images, message)
        asked = list(protocol.classes or store.classes)
        classes = _classes(protocol, store, train)
        side = longer_side(protocol)
        return cls(
            Canvases(store, train, side, device),
            Canvases(store, test, side, device),
            read_marks(store, train, classes).to(device),
            read_marks(store, test, classes).to(device),
            classes,
            [name for name in asked if name not in classes],
            [store.id(image) for image in test],
            listed - len(train) - len(test),
        )

    def facts(self) -> dict[str, Any]:
        shown = self.test_marks.shown.sum(0).tolist()
        return {
            "train_images": len(self.train),
            "test_images": len(self.test),
            "images_without_objects_list": self.left_out,
            "classes": self.classes,
            "classes_without_training_images": self.unlearnt,
            "test_images_of_class": dict(zip(self.classes, shown, strict=True)),
            "difficult_marks_ignored": int(self.train_marks.ignored.sum() + self.test_marks.ignored.sum()),
            "canvas": self.train.side,
            "paired_score": "label ranking average precision of each image",
        }


def _classes(protocol: VocClassificationProtocol, store: AnnotatedStore, train: list[int]) -> list[str]:
    shown = {annotation.name for image in train for annotation in store.objects(image) if not annotation.difficult}
    unknown = sorted(set(protocol.classes or ()) - set(store.classes))
    if unknown:
        message = f"There is no class called {', '.join(unknown)}; known: {', '.join(store.classes)}."
        raise StageError(Reason.bad_config, message)
    classes = [name for name in protocol.classes or store.classes if name in shown]
    if not classes:
        raise StageError(Reason.bad_labels, f"No image of '{protocol.train_set}' shows an object of the asked classes.")
    return classes


@dataclass(frozen=True)
class MarkedLoss:
    """Sigmoid cross-entropy, summed over the classes of an image that count, mean over images."""

    marks: Marks

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (N, classes) -> ()."""
        counts = (~self.marks.ignored).float()
        truth = self.marks.shown.float()
        return functional.binary_cross_entropy_with_logits(logits, truth, counts, reduction="sum") / len(logits)


class _Classification:
    """One network for each seed, and their judgement."""

    def __init__(
        self,
        protocol: VocClassificationProtocol,
        checkpoint: Path,
        frozen: FrozenLayers,
        data: _Data,
        context: Context,
        journal: Journal,
    ) -> None:
        self._protocol = protocol
        self._checkpoint = checkpoint
        self._frozen = frozen
        self._below = FROZEN_BELOW[protocol.mode]
        self._data = data
        self._each = protocol.iterations + math.ceil(len(data.test) / TEST_BATCH)
        self._pulse = Pulse(context, len(protocol.seeds) * self._each)
        self._journal = journal

    def judgement(self) -> tuple[Judgement, dict[str, Any]]:
        """The scores of all seeds' networks, and facts of their trainings."""
        protocol, data, device = self._protocol, self._data, self._frozen.device
        found = [
            self._journal.result(f"loss_{seed}", partial(self._scored, seed), self._pulse, self._each)
            for seed in protocol.seeds
        ]
        scores = [one["scores"].to(device) for one in found]
        weights = bootstrap_weights(len(data.test), protocol.seeds[0]).to(device)
        judged = Judgement(scores, data.test_marks, data.classes, protocol.seeds, protocol.confidence, weights)
        losses = {str(seed): one["loss"] for seed, one in zip(protocol.seeds, found, strict=True)}
        return judged, {"training_loss": losses, "seconds": sum(one["seconds"] for one in found)}

    def _scored(self, seed: int) -> dict[str, Any]:
        """One network's scores, its last training loss, the seconds both took."""
        learner = self._learner(seed)
        steps, batches = self._protocol.iterations, partial(self._batches, seed)
        training = fit({"network": learner}, batches, steps, self._pulse, self._journal, f"loss_{seed}")
        started = time.monotonic()
        scores = self._scores(learner, seed).cpu()
        seconds = training.seconds + time.monotonic() - started
        return {"scores": scores, "loss": training.losses["network"], "seconds": seconds}

    def _learner(self, seed: int) -> Learner:
        protocol, frozen = self._protocol, self._frozen
        torch.manual_seed(derived_seed(seed, "new layers"))
        recipe = Recipe(
            protocol.lr,
            protocol.weight_decay,
            Halving(protocol.lr_halves),
            bias_rate=2.0,
            decay_biases=True,
            clip_norm=CLIP_NORM,
        )
        # A batch of one image has no statistics of its own.
        fixed = protocol.batch_norm == "fixed" or protocol.batch == 1
        return Learner(self._layers(), recipe, seed, "network", frozen.device, frozen.precision, fixed)

    def _layers(self) -> nn.Sequential:
        """What learns: new layers, in mode `all` on convolutions that are the checkpoint's."""
        classes, frozen = len(self._data.classes), self._frozen
        if self._below in HEAD_COLUMNS:
            return as_published(new_head(frozen.widths[self._below], 0, 0, classes))
        head = new_head(frozen.backbone.out_channels * POOLED**2, len(HEAD_COLUMNS), self._protocol.width, classes)
        convolutions = list(layered(opened_checkpoint(self._checkpoint)[1]).features) if self._below is None else []
        return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(POOLED), nn.Flatten(), *as_published(head))

    def _inputs(self, windows: Tensor) -> Tensor:
        if self._below is None:
            return self._frozen.record.pixels.apply(windows).contiguous(memory_format=torch.channels_last)
        return self._frozen.maps(windows, [self._below])[self._below]

    def _windows(self, canvases: Tensor, sizes: Tensor, seed: int, purpose: str, counter: int) -> Tensor:
        scales = (self._protocol.min_scale, self._protocol.max_scale)
        return random_windows(canvases, sizes, self._protocol.crop, scales, torch_generator(seed, purpose, counter))

    def _batches(self, seed: int, first: int) -> Iterator[Batch]:
        data, protocol = self._data, self._protocol
        order = list(training_rows(len(data.train), protocol.batch, protocol.iterations, seed))[first:]
        for step, (canvases, rows) in enumerate(zip(data.train.batches(order), order, strict=True), start=first):
            chosen = torch.from_numpy(rows)
            windows = self._windows(canvases, data.train.sizes[chosen], seed, "windows", step)
            yield Batch({"network": self._inputs(windows)}, MarkedLoss(data.train_marks.at(chosen)))

    def _scores(self, learner: Learner, seed: int) -> Tensor:
        """(test images, classes): the sum over random windows, as many as the protocol has crops."""
        data, parts = self._data, []
        order = list(in_order(len(data.test), TEST_BATCH))
        for place, (canvases, rows) in enumerate(zip(data.test.batches(order), order, strict=True)):
            sizes = data.test.sizes[torch.from_numpy(rows)]
            total = torch.zeros(len(rows), len(data.classes), device=canvases.device)
            for view in range(self._protocol.crops):
                counter = place * self._protocol.crops + view
                windows = self._windows(canvases, sizes, seed, "windows at test", counter)
                total += learner.logits(self._inputs(windows))
            parts.append(total)
            self._pulse.beat()
        return torch.cat(parts)


@dataclass(frozen=True)
class Halving:
    """The rate halves after every part of a training that is cut into `times` equal ones: the last falls on its end."""

    times: int

    def __call__(self, progress: float) -> float:
        return 0.5 ** math.floor(progress * self.times)


def as_published(head: nn.Sequential) -> nn.Sequential:
    """Linear layers N(0, 0.01) with bias 0.1, in place (SPEC 8.1)."""
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=NEW_STD)
            nn.init.constant_(layer.bias, NEW_BIAS)
    return head


def _result(
    protocol: VocClassificationProtocol,
    judged: Judgement,
    facts: Mapping[str, Any],
    data: _Data,
    unchanged: bool | None,
) -> TransferResult:
    mean, each = judged.cells(protocol.ap)
    other: ApRule = "all-point" if protocol.ap == "voc07" else "voc07"
    rankings = torch.stack([label_rankings(scores, judged.marks) for scores in judged.scores]).mean(0)
    return TransferResult(
        cells={COLUMN: mean},
        metric="mAP",
        image_ids=data.test_ids,
        further={
            f"mAP {other}": {COLUMN: judged.cells(other)[0]},
            **{f"AP {name}": {COLUMN: cell} for name, cell in each.items()},
        },
        facts={**data.facts(), "ap": protocol.ap, "judged_classes": len(each), **facts},
        deviations=deviations(protocol, data.classes),
        right={COLUMN: rankings.float().cpu().numpy()},
        trunk_unchanged=unchanged,
    )


def longer_side(protocol: VocClassificationProtocol) -> int:
    """Of the photographs before they are cropped, pixels: as VOC's are to the published crop."""
    return max(1, round(LONGER_SIDE * protocol.crop / PUBLISHED_CROP))


def deviations(protocol: VocClassificationProtocol, classes: Sequence[str]) -> list[str]:
    """How the protocol differs from the published one (SPEC 8.1), a sentence each."""
    published = VocClassificationProtocol()
    said = [f"Photographs are resized to a longer side of {longer_side(protocol)} px first."]
    if len(classes) != PUBLISHED_CLASSES:
        said.append(f"{len(classes)} classes instead of {PUBLISHED_CLASSES}.")
    for name, what in _COMPARED.items():
        asked, usual = getattr(protocol, name), getattr(published, name)
        if asked != usual:
            said.append(f"{what} {asked} instead of {usual}.")
    said.append(f"{_RULES[protocol.ap]}; the published code's is the area below the curve as it is.")
    return said
