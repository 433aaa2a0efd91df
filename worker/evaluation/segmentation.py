"""VOC segmentation: an FCN-AlexNet of 32 pixel stride, fine-tuned from a checkpoint (Table 3; SPEC 8.3)."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.pixels import Pixels
from worker.config.reasons import Reason
from worker.config.scores import Cell
from worker.config.transfer import VocSegmentationProtocol
from worker.data.annotated import BACKGROUND, AnnotatedStore
from worker.evaluation.bootstrap import WORDS, bootstrap_weights, percentile_interval
from worker.evaluation.fcn import Fcn
from worker.evaluation.finetuning import Batch, fit, own_randomness, training_rows
from worker.evaluation.image_cache import in_order
from worker.evaluation.journal import Journal, fingerprint
from worker.evaluation.learner import Learner, Recipe
from worker.evaluation.masked_images import MaskedImages, at_least, shown
from worker.evaluation.mean_iou import VOID, class_iou, confusion_matrix, mean_accuracy, mean_iou, pixel_accuracy
from worker.evaluation.pulse import Pulse
from worker.evaluation.transfer_result import TransferResult
from worker.stages.contract import Context, StageError
from worker.stages.frozen import opened_checkpoint
from worker.stages.precision import Precision, resolved_precision
from worker.stages.randomness import derived_seed, torch_generator

COLUMN = "segm"
BIAS_RATE = 2.0
READ_AT_ONCE = 16
"""Photographs fetched together for judging; the network sees them one by one, each in its own size."""
PUBLISHED = VocSegmentationProtocol()
PUBLISHED_CLASSES, PUBLISHED_SIDE = 21, 500
_COMPARED = {
    "crop": "Side of training crops:",
    "mirror": "Mirrored in training:",
    "iterations": "Iterations:",
    "batch": "Batch of",
    "lr": "Learning rate",
    "lr_drops": "Drops of the rate:",
    "weight_decay": "Weight decay",
    "width": "Width of fc6 and fc7",
    "batch_norm": "Batch norm:",
}
Measure = Callable[[Tensor], Tensor]
"""Confusion matrices (..., C, C) -> (...)."""


def run_voc_segmentation(
    protocol: VocSegmentationProtocol, checkpoint: Path, store: AnnotatedStore, device: torch.device, context: Context
) -> TransferResult:
    """Learns the masks of `train_set` and is judged on those of `test_set`; one column, `segm`, mean IoU.

    `classes` are names of mask classes; the background always counts too. Pixels of any other class are void: they
    neither teach nor judge. All layers learn; photographs keep their size. A stopped evaluation goes on where it was.

    Raises `Stopped`, and `StageError` with bad_config (an unknown set or class), bad_labels (no class to tell),
    too_few_images, diverged, disk_full, artifact_corrupt.
    """
    record, _ = opened_checkpoint(checkpoint)
    precision = resolved_precision("auto", device)
    journal = Journal(context, fingerprint(protocol, checkpoint, store.digest, precision))
    data = _Data.read(protocol, store, device)
    with own_randomness(device):
        networks = _Segmentation(protocol, checkpoint, record.pixels, data, device, precision, context, journal)
        confusions, facts = networks.confusions()
    return _result(protocol, _Judgement(confusions, protocol), facts, data)


@dataclass(frozen=True)
class _Data:
    train: MaskedImages
    test: MaskedImages
    classes: list[str]
    """The background first."""
    unlearnt: list[str]
    """Asked for, or known to the store, but in no mask of the training set."""
    test_ids: list[str]
    left_out: int
    """Images of either set without a mask."""

    @classmethod
    def read(cls, protocol: VocSegmentationProtocol, store: AnnotatedStore, device: torch.device) -> "_Data":
        names = (protocol.train_set, protocol.test_set)
        listed = [store.images(name, "Segmentation") for name in names]
        train, test = ([image for image in images if store.has_mask(image)] for images in listed)
        for name, images, least in zip(names, (train, test), (2, 1), strict=True):
            if len(images) < least:
                raise StageError(
                    Reason.too_few_images, f"The image set '{name}' has {len(images)} images with a mask, too few."
                )
        classes = _classes(protocol, store, train)
        targets = _targets(store, classes)
        return cls(
            MaskedImages(store, train, targets, device),
            MaskedImages(store, test, targets, device),
            classes,
            [name for name in protocol.classes or store.mask_classes if name not in classes and name != BACKGROUND],
            [store.id(image) for image in test],
            sum(map(len, listed)) - len(train) - len(test),
        )

    def facts(self) -> dict[str, Any]:
        return {
            "train_images": len(self.train),
            "test_images": len(self.test),
            "images_without_mask": self.left_out,
            "classes": self.classes,
            "classes_without_training_pixels": self.unlearnt,
            "largest_training_image": list(self.train.largest[::-1]),
            "paired_score": "mean IoU within each image",
        }


def _classes(protocol: VocSegmentationProtocol, store: AnnotatedStore, train: Sequence[int]) -> list[str]:
    unknown = sorted(set(protocol.classes or ()) - set(store.mask_classes))
    if unknown:
        known = ", ".join(store.mask_classes)
        raise StageError(Reason.bad_config, f"No mask has a class called {', '.join(unknown)}; known: {known}.")
    taught = torch.zeros(256, dtype=torch.bool)
    for image in train:
        mask = store.mask(image)
        if mask is not None:
            taught[mask.flatten().int()] = True
    position = {name: index for index, name in enumerate(store.mask_classes)}
    asked = dict.fromkeys(name for name in protocol.classes or store.mask_classes if name != BACKGROUND)
    classes = [name for name in asked if taught[position[name]]]
    if not classes:
        raise StageError(Reason.bad_labels, f"No mask of '{protocol.train_set}' has a pixel of the asked classes.")
    return [BACKGROUND, *classes]


def _targets(store: AnnotatedStore, classes: Sequence[str]) -> Tensor:
    """uint8 (256,): mask index -> class, 255 for what neither teaches nor judges."""
    targets = torch.full((256,), VOID, dtype=torch.uint8)
    for index, name in enumerate(store.mask_classes):
        if name in classes:
            targets[index] = classes.index(name)
    return targets


@dataclass(frozen=True)
class PixelCrossEntropy:
    """Softmax cross-entropy: of each image the mean over its pixels that aren't void (0 where all are), of these the
    mean. The published network takes its images one by one (SPEC 8.3)."""

    targets: Tensor
    """int64 (N, h, w)."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (N, classes, h, w) -> ()."""
        losses = functional.cross_entropy(logits, self.targets, ignore_index=VOID, reduction="none")
        known = (self.targets != VOID).flatten(1).sum(1)
        return (losses.flatten(1).sum(1) / known.clamp_min(1)).mean()


@dataclass(frozen=True)
class Steps:
    """The rate falls to a tenth at the end of every part but the last of a training cut into equal ones."""

    drops: int

    def __call__(self, progress: float) -> float:
        return 0.1 ** math.floor(progress * (self.drops + 1))


class _Segmentation:
    """One network for each seed."""

    def __init__(
        self,
        protocol: VocSegmentationProtocol,
        checkpoint: Path,
        pixels: Pixels,
        data: _Data,
        device: torch.device,
        precision: Precision,
        context: Context,
        journal: Journal,
    ) -> None:
        self._protocol = protocol
        self._checkpoint = checkpoint
        self._data = data
        self._device = device
        self._precision = precision
        self._pixels = pixels
        crop = protocol.crop
        self._size = at_least(data.train.largest if crop is None else (crop, crop))
        self._each = protocol.iterations + len(data.test)
        self._pulse = Pulse(context, len(protocol.seeds) * self._each)
        self._journal = journal

    def confusions(self) -> tuple[Tensor, dict[str, Any]]:
        """int64 (seeds, test images, C, C), on the CPU, and facts of the trainings."""
        started = time.perf_counter()
        self._data.train.load()
        self._data.test.load()
        reading = time.perf_counter() - started
        seeds = self._protocol.seeds
        found = [
            self._journal.result(f"segmentation_{seed}", partial(self._of_seed, seed), self._pulse, self._each)
            for seed in seeds
        ]
        losses = {str(seed): one["loss"] for seed, one in zip(seeds, found, strict=True)}
        learning, judging = (sum(one[kind] for one in found) for kind in ("learning", "judging"))
        facts = {"training_loss": losses, **self._speed(learning, judging), "seconds_reading": reading}
        return torch.stack([one["confusions"] for one in found]), facts

    def _of_seed(self, seed: int) -> dict[str, Any]:
        """One network's confusion matrices, its last training loss, the seconds that learning and judging took."""
        learner = self._learner(seed)
        steps, batches = self._protocol.iterations, partial(self._batches, seed)
        training = fit({"network": learner}, batches, steps, self._pulse, self._journal, f"segmentation_{seed}")
        started = time.perf_counter()
        confusions = self._judged(learner).cpu()
        judging = time.perf_counter() - started
        loss, learning = training.losses["network"], training.seconds
        return {"confusions": confusions, "loss": loss, "learning": learning, "judging": judging}

    def _speed(self, learning: float, judging: float) -> dict[str, Any]:
        seeds = len(self._protocol.seeds)
        batch = min(self._protocol.batch, len(self._data.train))
        return {
            "seconds_training": learning,
            "seconds_judging": judging,
            "images_per_second_training": seeds * self._protocol.iterations * batch / learning,
            "images_per_second_judging": seeds * len(self._data.test) / judging,
            "training_input": list(self._size[::-1]),
            "precision": self._precision,
            "device": self._device.type,
        }

    def _learner(self, seed: int) -> Learner:
        protocol = self._protocol
        _, backbone = opened_checkpoint(self._checkpoint)
        torch.manual_seed(derived_seed(seed, "new layers"))
        network = Fcn(backbone, len(self._data.classes), protocol.width).eval().to(self._device)
        network.settle(next(self._shown(seed, 0))[0])
        recipe = Recipe(protocol.lr, protocol.weight_decay, Steps(protocol.lr_drops), bias_rate=BIAS_RATE)
        fixed = protocol.batch_norm == "fixed"
        return Learner(network, recipe, seed, "network", self._device, self._precision, fixed)

    def _batches(self, seed: int, first: int) -> Iterator[Batch]:
        for inputs, targets in self._shown(seed, first):
            yield Batch({"network": inputs}, PixelCrossEntropy(targets))

    def _shown(self, seed: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of every step from `first` on."""
        train, protocol = self._data.train, self._protocol
        order = list(training_rows(len(train), protocol.batch, protocol.iterations, seed))[first:]
        for step, (canvases, rows) in enumerate(zip(train.batches(order), order, strict=True), start=first):
            generator = torch_generator(seed, "windows", step)
            windows = [train.random_window(row, protocol.crop, protocol.mirror, generator) for row in rows.tolist()]
            yield shown(canvases, windows, self._size, self._pixels)

    def _judged(self, learner: Learner) -> Tensor:
        """int64 (test images, C, C), on the device."""
        test, classes = self._data.test, len(self._data.classes)
        order = list(in_order(len(test), READ_AT_ONCE))
        found = []
        with _many_sizes():
            for canvases, rows in zip(test.batches(order), order, strict=True):
                for canvas, row in zip(canvases, rows.tolist(), strict=True):
                    window = test.whole(row)
                    size = at_least((window.height, window.width))
                    inputs, targets = shown(canvas[None], [window], size, self._pixels)
                    found.append(confusion_matrix(learner.logits(inputs).argmax(1), targets, classes))
                    self._pulse.beat()
        return torch.stack(found)


@contextmanager
def _many_sizes() -> Iterator[None]:
    """No search for the fastest convolution, which would start anew for every size of photograph."""
    benchmark = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark


class _Judgement:
    """Numbers of the confusion matrices (seeds, images, C, C), with intervals from resampled images."""

    def __init__(self, confusions: Tensor, protocol: VocSegmentationProtocol) -> None:
        self.images = confusions.shape[1]
        self.each = confusions
        self.totals = confusions.sum(1)
        weights = bootstrap_weights(self.images, protocol.seeds[0])
        self._resampled = torch.einsum("ri,sicd->srcd", weights, confusions.double())
        self._seeds = protocol.seeds
        self._confidence = protocol.confidence

    def cell(self, measure: Measure) -> Cell | None:
        """None where no pixel tells."""
        values = measure(self.totals)
        if bool(values.isnan().any()):
            return None
        mean = float(values.mean())
        low, high = percentile_interval(measure(self._resampled).mean(0), self._confidence, around=mean)
        return Cell(
            value=mean,
            low=low,
            high=high,
            interval=WORDS,
            n=self.images,
            per_seed={str(seed): float(value) for seed, value in zip(self._seeds, values, strict=True)},
        )


def _of_class(number: int) -> Measure:
    return lambda confusions: class_iou(confusions)[..., number]


def _result(
    protocol: VocSegmentationProtocol, judged: _Judgement, facts: Mapping[str, Any], data: _Data
) -> TransferResult:
    mean = judged.cell(mean_iou)
    if mean is None:
        raise StageError(Reason.bad_labels, f"No mask of '{protocol.test_set}' has a pixel of the classes.")
    measures: dict[str, Measure] = {"pixel accuracy": pixel_accuracy, "mean accuracy": mean_accuracy}
    measures |= {f"IoU {name}": _of_class(number) for number, name in enumerate(data.classes)}
    further = {name: cell for name, measure in measures.items() if (cell := judged.cell(measure)) is not None}
    pixels = judged.totals[0].sum(1).tolist()
    within = mean_iou(judged.each).nan_to_num().mean(0)
    return TransferResult(
        cells={COLUMN: mean},
        metric="mIoU",
        image_ids=data.test_ids,
        further={name: {COLUMN: cell} for name, cell in further.items()},
        facts={**data.facts(), "test_pixels_of_class": dict(zip(data.classes, pixels, strict=True)), **facts},
        deviations=deviations(protocol, data.classes, data.train, data.test),
        right={COLUMN: within.float().numpy()},
    )


def deviations(
    protocol: VocSegmentationProtocol, classes: Sequence[str], train: MaskedImages, test: MaskedImages
) -> list[str]:
    """How the protocol differs from the published one (SPEC 8.3), a sentence each."""
    said = [
        f"{len(train)} images of '{protocol.train_set}' teach and {len(test)} of '{protocol.test_set}' judge; the "
        "published networks learn from SBD's training set and are judged on 736 images of VOC2011's validation set.",
        "New layers start as He et al., fc6 scaled by the first batch; the published start of fc6 and fc7 is unknown.",
        "The map after pool5 is padded by 3 cells; the published network pads the image by 100 pixels.",
    ]
    if len(classes) != PUBLISHED_CLASSES:
        said.append(f"{len(classes)} classes with the background instead of {PUBLISHED_CLASSES}; others are void.")
    longest = max(*train.largest, *test.largest)
    if longest != PUBLISHED_SIDE:
        said.append(f"Photographs are at most {longest} pixels long; VOC's are {PUBLISHED_SIDE}.")
    for name, what in _COMPARED.items():
        asked, usual = getattr(protocol, name), getattr(PUBLISHED, name)
        if asked != usual:
            said.append(f"{what} {asked} instead of {usual}.")
    return said
