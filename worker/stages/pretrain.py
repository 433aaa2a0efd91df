"""Train a network on a pretext task: Jigsaw++ (paper section 3; SPEC section 3) or another (SPEC section 10)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from models.checkpoint import CheckpointRecord
from models.library import NoSuchNetwork
from worker.config.base import DatasetFacts
from worker.config.pretrain import PretrainConfig
from worker.config.reasons import Reason
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.evaluation.online import online_knn, online_split
from worker.evaluation.taps import View
from worker.pictures.preview import PREVIEW_FILE, preview
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored
from worker.pretext.tasks import pretext_task
from worker.stages.checkpoint import write_checkpoint
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import Precision, autocast, usable_device
from worker.stages.pseudo_labels import held_out
from worker.stages.randomness import numpy_generator, torch_generator
from worker.stages.standalone import main
from worker.stages.stepper import as_float
from worker.stages.task import Indices
from worker.stages.training import train

LOOKS = 20
"""How many times over a training the held-out images are looked at."""
ONLINE_TAP = "conv4"
"""The layer whose clusters become labels."""


class PretrainInputs(Inputs):
    store: Path


class PretrainResult(Result):
    teacher: Produced


def run(config: PretrainConfig, inputs: PretrainInputs, context: Context) -> PretrainResult:
    """Raises `StageError` with too_few_images, images_too_small, bad_config, device_unavailable, diverged, ..."""
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    config = _resolved_by_store(config, store)
    pretext = _task(config)
    pretext.prepare(store, context)
    teacher = context.workdir / "teacher"
    _write_preview(pretext, config, store, teacher)
    task = PretextTraining(config, store, pretext)
    facts, config = train(task, config, store.digest, device, context)
    facts |= {"dataset": store.digest, "photographs": store.photographs, "images": store.count}
    facts |= {"task": config.pretext.task, **pretext.facts()}
    return PretrainResult(teacher=_write(pretext, config, facts, teacher))


class PretextTraining:
    """A pretext task on the images of a store."""

    looks = LOOKS

    def __init__(self, config: PretrainConfig, store: ImageStore, pretext: PretextTask) -> None:
        self.store = store
        self.side = int(config.pretext.side)
        self.network: PretextNetwork = pretext.network
        self.chance_loss, self.chance_accuracy = pretext.chance_loss, pretext.chance_accuracy
        self._config = config
        self._pretext = pretext
        held = held_out(store.paths, config.holdout, config.seed)
        self._trained, self._held_out = np.flatnonzero(~held), np.flatnonzero(held)
        self._labelled = online_split(store, config.seed) if config.online_knn else None

    def epoch_order(self, epoch: int) -> Indices:
        return numpy_generator(self._config.seed, "epoch", epoch).permutation(self._trained)

    def examples(self, images: Tensor, indices: Indices, step: int) -> Examples:
        return self._pretext.make(images, torch_generator(self._config.seed, "puzzles", step))

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        return self._pretext.score(outputs, targets)

    def monitor(self, network: nn.Module, precision: Precision) -> dict[str, float]:
        """On images never trained on, and by labels where that was asked for; the same images at every look."""
        return self._on_held_out(network, precision) | self._by_neighbours(precision)

    def _by_neighbours(self, precision: Precision) -> dict[str, float]:
        """An early verdict on the backbone; nothing learns from the labels."""
        if self._labelled is None:
            return {}
        backbone, pixels = self.network.backbone, self._pretext.pixels
        view = View(self.side, int(self._config.pretext.crop))
        device = next(backbone.parameters()).device
        tap = ONLINE_TAP if ONLINE_TAP in backbone.tap_channels else backbone.last_tap
        found = online_knn(backbone, pixels, self.store, self._labelled, view, tap, device, precision)
        return {"online_knn": found}

    @torch.no_grad()
    def _on_held_out(self, network: nn.Module, precision: Precision) -> dict[str, float]:
        """Loss, and accuracy where there is one."""
        network.eval()
        losses: list[Tensor] = []
        correct: list[Tensor] = []
        answers = 0
        for number, images in enumerate(self._held_out_batches(next(network.parameters()).device)):
            examples = self._pretext.make(images, torch_generator(self._config.seed, "held out", number))
            with autocast(precision, images.device):
                outputs = as_float(network(*examples.inputs))
            scored = self._pretext.score(outputs, examples.targets)
            losses.append(scored.loss * scored.answers)
            correct += [] if scored.correct is None else [scored.correct]
            answers += scored.answers
        found = {"holdout_loss": float(torch.stack(losses).sum()) / answers} if losses else {}
        return found | ({"holdout_accuracy": float(torch.stack(correct).sum()) / answers} if correct else {})

    def _held_out_batches(self, device: torch.device) -> Iterator[Tensor]:
        size = min(self._config.schedule.batch, len(self._held_out))
        # Whole batches only: a task may need several images.
        starts = range(0, len(self._held_out) - size + 1, size) if size >= self._config.pretext.fewest_images else ()
        batches = [self._held_out[start : start + size] for start in starts]
        with BatchLoader(self.store, batches, self.side, device) as loader:
            yield from loader


def _resolved_by_store(config: PretrainConfig, store: ImageStore) -> PretrainConfig:
    """Raises `StageError` where these images can't be made into examples of the task."""
    fewest = max(2, config.pretext.fewest_images)
    if store.count < fewest:
        message = f"The task {config.pretext.task} needs at least two images, and there is {store.count}."
        raise StageError(Reason.too_few_images, message)
    facts = DatasetFacts(image_count=store.count, side=store.side, class_count=len(store.classes))
    too_small = partial(StageError, Reason.images_too_small)
    try:
        config = config.resolved(facts)
    except ValidationError as error:
        told = error.errors()[0]["msg"]
        raise too_small(f"{config.pretext.task} can't use images of {store.side} px: {told}.") from error
    side, crop = int(config.pretext.side), int(config.pretext.crop)
    if side > store.side:
        raise too_small(f"`pretext.side` is {side}, but the stored images have {store.side} px.")
    if crop > side:
        raise too_small(f"Crops of {crop} px can't be cut from images of {side} px.")
    return config


def _task(config: PretrainConfig) -> PretextTask:
    try:
        return pretext_task(config)
    except NoSuchNetwork as error:
        raise StageError(Reason.bad_config, f"The network can't be built: {error}.") from error
    except RuntimeError as error:
        arch, task = config.backbone.arch, config.pretext.task
        message = f"What {task} cuts from images of {config.pretext.side} px is too small for {arch}: {error}."
        raise StageError(Reason.images_too_small, message) from error


def _write_preview(pretext: PretextTask, config: PretrainConfig, store: ImageStore, folder: Path) -> None:
    with machine_errors("writing the preview"):
        folder.mkdir(parents=True, exist_ok=True)
        picture = preview(pretext, store, int(config.pretext.side), config.seed)
        picture.save(folder / PREVIEW_FILE, optimize=True)


def _write(pretext: PretextTask, config: PretrainConfig, facts: dict[str, Any], folder: Path) -> Produced:
    backbone_config, backbone = pretext.trained_backbone()
    record = CheckpointRecord(
        role="teacher",
        backbone=backbone_config,
        crop=pretext.crop,
        pixels=pretext.pixels,
        classes=pretext.classes,
        head=pretext.head_arguments(),
        training=facts | {"config": config.model_dump(mode="json")},
    )
    return write_checkpoint(folder, record, backbone, pretext.network.head)


if __name__ == "__main__":
    main(run, PretrainConfig, PretrainInputs)
