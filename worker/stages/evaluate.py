"""kNN and linear probes of untrained network, teacher and student, on images held out from the probes (SPEC 8.4)."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.backbone import empty_backbone
from worker.config.evaluate import EvaluateConfig
from worker.config.pipeline import ArtifactKind
from worker.data.store import ImageStore
from worker.evaluation.contenders import CALIBRATION_IMAGES, STUDENT, Contender, contenders
from worker.evaluation.features import compute_features
from worker.evaluation.judge import Judge, Verdict
from worker.evaluation.knn import TEMPERATURE
from worker.evaluation.probe import BATCH, MOMENTUM, WEIGHT_DECAY
from worker.evaluation.record import Evaluation, TapResult
from worker.evaluation.split import ProbeSplit, split_labelled
from worker.evaluation.taps import tap_shapes
from worker.stages.contract import Context, Inputs, Produced, Result, Stopped
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import fast_arithmetic, resolved_precision, usable_device
from worker.stages.standalone import main

Verdicts = dict[str, Verdict]
"""By tap."""


class EvaluateInputs(Inputs):
    store: Path
    student: Path
    teacher: Path | None = None


class EvaluateResult(Result):
    evaluation: Produced


def run(config: EvaluateConfig, inputs: EvaluateInputs, context: Context) -> EvaluateResult:
    """Compares on the store's labels; without any it succeeds and says so. No network is changed by it."""
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    context.resolved(config)
    split = split_labelled(store.paths, store.labels, config.holdout, config.max_images, config.seeds[0])
    _tell(split, store, context)
    if not split.usable:
        return _written(Evaluation(labelled=False, reason=_why_not(store)), context)
    with machine_errors("evaluating"), fast_arithmetic(device):
        return _written(_Comparison(config, inputs, store, split, device, context).evaluation(), context)


def _tell(split: ProbeSplit, store: ImageStore, context: Context) -> None:
    for label, count in split.dropped.items():
        context.log(f"class {store.classes[label]} is left out: {count} labelled images are too few", "warning")
    held = int(split.held_out.sum())
    context.log(f"{len(split.images) - held} images teach the probes, {held} judge, {len(split.classes)} classes")


def _why_not(store: ImageStore) -> str:
    if not store.classes:
        return "The dataset has no labels, so accuracies can't be measured: look at the clusters."
    return "Fewer than two classes have enough labelled images, so accuracies can't be measured."


def _written(evaluation: Evaluation, context: Context) -> EvaluateResult:
    folder = context.workdir / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(evaluation.model_dump_json(indent=2))
    produced = Produced(kind=ArtifactKind.evaluation, path=folder, summary=evaluation.summary())
    return EvaluateResult(evaluation=produced)


class _Comparison:
    """One evaluation: the same images, split and probe settings for every network."""

    def __init__(
        self,
        config: EvaluateConfig,
        inputs: EvaluateInputs,
        store: ImageStore,
        split: ProbeSplit,
        device: torch.device,
        context: Context,
    ) -> None:
        self._config = config
        self._store = store
        self._split = split
        self._device = device
        self._context = context
        self._precision = resolved_precision("auto", device)
        self._judge = Judge(split, config.knn, config.probe_epochs, config.seeds)
        self._batches = math.ceil(len(split.images) / config.batch)
        train = split.images[~split.held_out]
        found = contenders(store, inputs.student, inputs.teacher, train, config.seeds[0], device, self._precision)
        self._contenders = [one for one in found if self._comparable(one)]
        self._steps_done = 0

    def _comparable(self, contender: Contender) -> bool:
        """Whether it has the maps by which networks are compared here; a library's network has others."""
        network = empty_backbone(contender.record.backbone)
        missing = [tap for tap in self._config.taps if tap not in network.tap_channels]
        if missing:
            message = f"The {contender.name}, a {network.config.arch}, takes no part: it has no {', '.join(missing)}."
            self._context.log(message, "warning")
        return not missing

    def evaluation(self) -> Evaluation:
        networks: dict[str, dict[str, TapResult]] = {}
        verdicts: dict[str, Verdicts] = {}
        for contender in self._contenders:
            verdicts[contender.name], networks[contender.name] = self._judged(contender)
            for tap, result in networks[contender.name].items():
                self._context.metric(f"linear_{contender.name}", int(tap[-1]), result.linear.top1)
        differences = {
            f"{STUDENT} - {name}": {
                tap: verdict.minus(verdicts[name][tap], self._config.confidence)
                for tap, verdict in verdicts[STUDENT].items()
            }
            for name in verdicts
            if name != STUDENT
        }
        return Evaluation(labelled=True, protocol=self._protocol(), networks=networks, differences=differences)

    def _judged(self, contender: Contender) -> tuple[Verdicts, dict[str, TapResult]]:
        network = contender.open()
        before = network.digest()
        config, folder, view = self._config, self._context.workdir / "taps", contender.view
        shapes = tap_shapes(contender.record.backbone, config.taps, view.crop, config.max_dims)
        images = self._split.images
        features = compute_features(
            network, self._store, images, view, shapes, "average", config.batch, folder, self._device, self._step
        )
        # Each tap's features go as soon as they are judged.
        verdicts: Verdicts = {tap: self._judge.verdict(features.pop(tap), self._step) for tap in config.taps}
        shutil.rmtree(folder, ignore_errors=True)
        if network.digest() != before:
            raise RuntimeError(f"the {contender.name} network was changed by its evaluation")
        results = {tap: v.result(shapes[tap], config.seeds, config.confidence) for tap, v in verdicts.items()}
        return verdicts, results

    def _step(self) -> None:
        self._steps_done += 1
        each = self._batches + len(self._config.taps) * (1 + self._config.probe_epochs)
        self._context.progress(self._steps_done, each * len(self._contenders), "steps")
        if self._context.should_stop():
            shutil.rmtree(self._context.workdir / "taps", ignore_errors=True)
            raise Stopped

    def _protocol(self) -> dict[str, Any]:
        split, config = self._split, self._config
        held = int(split.held_out.sum())
        return {
            **config.model_dump(mode="json"),
            "classes": [self._store.classes[label] for label in split.classes],
            "dropped_classes": {self._store.classes[label]: count for label, count in split.dropped.items()},
            "train": len(split.images) - held,
            "held_out": held,
            "majority": float(np.bincount(split.labels[split.held_out]).max() / held),
            "views": {found.name: vars(found.view) for found in self._contenders},
            "networks": {found.name: found.record.backbone.model_dump(mode="json") for found in self._contenders},
            "precision": self._precision,
            "features": "post-ReLU maps of the centre crop, average-pooled to at most max_dims values; eval mode",
            "knn_rule": f"cosine, votes weighted by exp(cosine / {TEMPERATURE})",
            "linear_rule": "standardised by the training images, softmax regression, SGD with Nesterov momentum "
            f"{MOMENTUM}, weight decay {WEIGHT_DECAY}, batch at most {BATCH}, rate 1 / (1 + largest eigenvalue "
            "of the covariance) along a half cosine",
            "random_calibrated": f"batch norm statistics of up to {CALIBRATION_IMAGES} of the probes' training images",
            "interval": "Wilson for accuracies; Bonett and Price for differences on the same images",
        }


if __name__ == "__main__":
    main(run, EvaluateConfig, EvaluateInputs)
