"""Object detection: a checkpoint's convolutions, fine-tuned to find objects on annotated photographs (SPEC 8.2)."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbone import Backbone
from worker.config.scores import Cell
from worker.config.transfer import TransferConfig, VocDetectionProtocol
from worker.data.annotated import AnnotatedStore
from worker.evaluation.average_precision import ApRule
from worker.evaluation.bootstrap import WORDS, bootstrap_weights, percentile_interval
from worker.evaluation.detection_ap import Judged, image_scores, judge, mean_average_precision, recall, resampled
from worker.evaluation.detectors.deviations import deviations
from worker.evaluation.detectors.proposals import resolved_source
from worker.evaluation.detectors.task import DetectionTask, detection_task
from worker.evaluation.detectors.trial import Trial, Trials
from worker.evaluation.detectors.trunk import DetectionTrunk
from worker.evaluation.journal import Journal, fingerprint
from worker.evaluation.transfer_result import TransferResult
from worker.stages.contract import Context
from worker.stages.frozen import layered, opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import fast_arithmetic, resolved_precision

RESAMPLES = 100
RULES: tuple[ApRule, ...] = ("voc07", "all-point")


def run_voc_detection(
    protocol: VocDetectionProtocol, checkpoint: Path, store: AnnotatedStore, device: torch.device, context: Context
) -> TransferResult:
    """Fine-tune a detector on `protocol.train_set` and judge it on `protocol.test_set`, once per seed.

    Columns: `det_ss` (one scale) and `det_ms` (all scales) of Fast R-CNN, or `faster_rcnn`. Every minute, and when it
    is asked to stop, the training is saved in the work directory, and a later attempt goes on from there. Raises
    `Stopped`, and `StageError` with bad_config (a library's network too), bad_labels, artifact_corrupt, diverged,
    out_of_memory or disk_full.
    """
    record, found = opened_checkpoint(checkpoint)
    backbone = layered(found)
    resolved = _resolved(protocol, device)
    context.resolved(TransferConfig(protocol=resolved))
    journal = Journal(context, fingerprint(resolved, checkpoint, store.digest))
    task = detection_task(store, resolved, context)
    with machine_errors("training a detector"), _arithmetic(device):
        trials = Trials(resolved, record.pixels, backbone, task, device, context, journal)
        measured = [trials.of_seed(seed) for seed in resolved.seeds]
    return _result(resolved, backbone, task, measured)


def _resolved(protocol: VocDetectionProtocol, device: torch.device) -> VocDetectionProtocol:
    settled: dict[str, Any] = {"precision": resolved_precision(protocol.precision, device)}
    if protocol.detector == "fast_rcnn":
        settled["proposals_source"] = resolved_source(protocol.proposals_source)
    return protocol.model_copy(update=settled)


@contextmanager
def _arithmetic(device: torch.device) -> Iterator[None]:
    cuda = [device] if device.type == "cuda" else []
    with fast_arithmetic(device), torch.random.fork_rng(cuda):
        # Nearly every batch has a size of its own: searching the best convolution for each would take most of the time.
        torch.backends.cudnn.benchmark = False
        yield


def _result(
    protocol: VocDetectionProtocol, backbone: Backbone, task: DetectionTask, measured: Sequence[Trial]
) -> TransferResult:
    columns = {column: _judged(task, measured, column) for column in measured[0].detections}
    weights = bootstrap_weights(len(task.test), protocol.seeds[0], RESAMPLES)
    redrawn = {
        rule: {column: _resampled(judged, rule, weights) for column, judged in columns.items()} for rule in RULES
    }
    by_rule = {
        rule: {
            column: _mean_cell(judged, rule, redrawn[rule][column], protocol, len(task.test))
            for column, judged in columns.items()
        }
        for rule in RULES
    }
    further = {f"mAP {rule}": cells for rule, cells in by_rule.items() if rule != protocol.ap}
    for label, name in enumerate(task.classes):
        cells = {
            column: _class_cell(judged, label, redrawn[protocol.ap][column], protocol, len(task.test))
            for column, judged in columns.items()
        }
        if all(cell is not None for cell in cells.values()):
            further[f"AP {name}"] = {column: cell for column, cell in cells.items() if cell is not None}
    return TransferResult(
        cells=by_rule[protocol.ap],
        metric="mAP",
        image_ids=[task.store.id(image) for image in task.test],
        further=further,
        facts=_facts(protocol, backbone, task, measured),
        deviations=deviations(protocol, task),
        right={column: _image_scores(judged) for column, judged in columns.items()},
        trunk_unchanged=all(bool(one.unchanged) for one in measured) if protocol.frozen else None,
        protocol=protocol,
    )


def _judged(task: DetectionTask, measured: Sequence[Trial], column: str) -> list[list[Judged]]:
    """By seed, by class."""
    return [judge(one.detections[column], task.objects, len(task.classes), len(task.test)) for one in measured]


def _image_scores(judged: list[list[Judged]]) -> NDArray[np.float32]:
    """(images,): mean over the seeds."""
    scores: NDArray[np.float64] = np.mean([image_scores(classes) for classes in judged], axis=0)
    return scores.astype(np.float32)


def _resampled(judged: list[list[Judged]], rule: ApRule, weights: Tensor) -> Tensor:
    """float64 (seeds, classes, samples): all seeds on the same samples."""
    return torch.stack([resampled(classes, rule, weights) for classes in judged])


def _mean_cell(
    judged: list[list[Judged]], rule: ApRule, redrawn: Tensor, protocol: VocDetectionProtocol, n: int
) -> Cell:
    values = [mean_average_precision(classes, rule) for classes in judged]
    return _cell(values, redrawn.nanmean(1), protocol, n)


def _class_cell(
    judged: list[list[Judged]], label: int, redrawn: Tensor, protocol: VocDetectionProtocol, n: int
) -> Cell | None:
    """None where no judged image has an object of the class."""
    values = [classes[label].average_precision(protocol.ap) for classes in judged]
    return None if math.isnan(values[0]) else _cell(values, redrawn[:, label], protocol, n)


def _cell(values: list[float], redrawn: Tensor, protocol: VocDetectionProtocol, n: int) -> Cell:
    """Of one value a seed, with those of the samples, (seeds, samples)."""
    mean = float(np.mean(values))
    low, high = percentile_interval(redrawn.mean(0), protocol.confidence, around=mean)
    per_seed = {str(seed): value for seed, value in zip(protocol.seeds, values, strict=True)}
    return Cell(value=mean, low=low, high=high, interval=WORDS, n=n, per_seed=per_seed)


def _facts(
    protocol: VocDetectionProtocol, backbone: Backbone, task: DetectionTask, measured: Sequence[Trial]
) -> dict[str, Any]:
    counts = np.bincount(task.objects.label[~task.objects.difficult], minlength=len(task.classes))
    facts: dict[str, Any] = {
        "classes": task.classes,
        "training_images": len(task.train),
        "training_images_without_objects": task.without_objects,
        "test_images": len(task.test),
        "test_images_without_annotation": task.unlisted,
        "test_objects": dict(zip(task.classes, counts.tolist(), strict=True)),
        "difficult_objects": int(task.objects.difficult.sum()),
        "stride": DetectionTrunk(backbone, 0, "fp32").stride,
        "precision": protocol.precision,
        "paired_score": "mean average precision within each image",
        "seeds": {str(seed): one.facts for seed, one in zip(protocol.seeds, measured, strict=True)},
    }
    if protocol.detector == "fast_rcnn":
        facts["proposals_source"] = protocol.proposals_source
        facts["proposals_per_image"] = float(np.mean([len(boxes) for boxes in task.test_proposals]))
        facts["proposal_recall"] = recall([boxes.double().numpy() for boxes in task.test_proposals], task.objects)
    return facts
