"""One checkpoint judged on a labelled image store by one protocol (Tables 4, 5, 6; SPEC 8.4 to 8.6)."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.config.base import DatasetFacts
from worker.config.cluster import ClusterConfig
from worker.config.probe import (
    AnyProbe,
    ClusterProtocol,
    LabelSplit,
    LinearProtocol,
    LowShotProtocol,
    NonlinearProtocol,
    ProbeConfig,
    RetrievalProtocol,
)
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.evaluation.cluster_quality import cluster_quality
from worker.evaluation.linear import linear
from worker.evaluation.low_shot import low_shot_linear
from worker.evaluation.low_shot_finetuning import low_shot_finetuning
from worker.evaluation.nonlinear import run_nonlinear
from worker.evaluation.retrieval import retrieval
from worker.evaluation.score import Findings, Outcome, findings
from worker.evaluation.sheet import score_sheet, write_evaluation
from worker.evaluation.split import ProbeSplit, split_labelled
from worker.evaluation.subject import Subject, chosen_view
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.frozen import opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import resolved_precision, usable_device
from worker.stages.resumable import remove_state
from worker.stages.standalone import main

SplitProtocol = LinearProtocol | NonlinearProtocol | RetrievalProtocol | LowShotProtocol


class ProbeInputs(Inputs):
    store: Path
    checkpoint: Path


class ProbeResult(Result):
    evaluation: Produced


def run(config: ProbeConfig, inputs: ProbeInputs, context: Context) -> ProbeResult:
    """Frozen layers stay as they are; the sheet says so, and tells all that is needed to doubt its numbers.

    Raises `StageError(bad_labels)` where fewer than two classes have enough labelled images, `bad_config` for a tap
    that the network doesn't have or a crop larger than the images, `disk_full`. Stopped in the middle, a nonlinear
    probe and a fine-tuning go on where they were; what looks at features alone starts anew, for that is quick.
    """
    subject, protocol = _prepared(config, inputs, context)
    context.resolved(ProbeConfig(protocol=protocol))
    try:
        with machine_errors("evaluating"):
            made = ProbeResult(evaluation=_evaluation(protocol, subject))
        remove_state(context.workdir)
        return made
    finally:
        shutil.rmtree(subject.scratch, ignore_errors=True)


def _prepared(config: ProbeConfig, inputs: ProbeInputs, context: Context) -> tuple[Subject, AnyProbe]:
    """What is judged, and the protocol with no `"auto"` left in it."""
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    record, _ = opened_checkpoint(inputs.checkpoint)
    asked = config.protocol
    side, crop = (None if value == "auto" else value for value in (asked.side, asked.crop))
    view = chosen_view(record, store, side, crop)
    subject = Subject(
        store, inputs.checkpoint, record, view, device, resolved_precision("auto", device), asked.batch, context
    )
    known: dict[str, Any] = {"side": view.side, "crop": view.crop}
    if isinstance(asked, ClusterProtocol):
        known["k"] = _clusters(asked, len(_labelled(store, asked)))
    return subject, asked.model_copy(update=known)


def _clusters(protocol: ClusterProtocol, images: int) -> int:
    k = int(ClusterConfig(k=protocol.k).resolved(DatasetFacts(image_count=images, side=0)).k)
    if k > images:
        raise StageError(Reason.k_too_large, f"k = {k} clusters can't be made of {images} labelled images.")
    return k


def _evaluation(protocol: AnyProbe, subject: Subject) -> Produced:
    started = time.perf_counter()
    split = None
    if isinstance(protocol, ClusterProtocol):
        images = _labelled(subject.store, protocol)
        found = cluster_quality(protocol, subject, images)
    else:
        split = _split(subject.store, protocol.split, protocol.seeds[0], subject.context)
        images, found = split.judged, _by_split(protocol, subject, split)
    facts = {"seconds_in_all": time.perf_counter() - started, "judged": len(images)}
    sheet = score_sheet(protocol, subject, split, found, facts)
    return write_evaluation(subject.context.workdir / "evaluation", sheet, found, subject.store, images)


def _by_split(protocol: SplitProtocol, subject: Subject, split: ProbeSplit) -> Findings:
    match protocol:
        case LinearProtocol():
            return linear(protocol, subject, split)
        case RetrievalProtocol():
            return retrieval(protocol, subject, split)
        case NonlinearProtocol():
            return findings(run_nonlinear(protocol, subject, split), protocol.seeds, protocol.confidence)
        case LowShotProtocol():
            return findings(_low_shot(protocol, subject, split), protocol.seeds, protocol.confidence)


def _low_shot(protocol: LowShotProtocol, subject: Subject, split: ProbeSplit) -> dict[str, Outcome]:
    tuned: dict[str, Outcome] = {}
    # First, because it is what a later attempt goes on with: a stop in the other's features would lose it.
    if "finetune" in protocol.ways:
        tuned = low_shot_finetuning(protocol, subject, split)
    return {**(low_shot_linear(protocol, subject, split) if "linear" in protocol.ways else {}), **tuned}


def _labelled(store: ImageStore, protocol: ClusterProtocol) -> NDArray[np.int64]:
    """All labelled images, at most `max_images` drawn by seed. Raises `StageError(bad_labels)` without two classes."""
    images, most = np.flatnonzero(store.labels >= 0), protocol.split.max_images
    if most is not None and len(images) > most:
        images = np.sort(np.random.default_rng(protocol.seeds[0]).choice(images, most, replace=False))
    if len(np.unique(store.labels[images])) < 2:
        raise StageError(Reason.bad_labels, _too_few_classes(store))
    return images


def _split(store: ImageStore, asked: LabelSplit, seed: int, context: Context) -> ProbeSplit:
    """Says what takes no part; raises `StageError(bad_labels)` without two classes."""
    split = split_labelled(store.paths, store.labels, asked.holdout, asked.max_images, seed, asked.rule)
    if not split.usable:
        raise StageError(Reason.bad_labels, _too_few_classes(store))
    for label, count in split.dropped.items():
        context.log(f"class {store.classes[label]} is left out: {count} labelled images are too few", "warning")
    if unlabelled := int((store.labels < 0).sum()):
        context.log(f"{unlabelled} of {store.count} images have no label and take no part", "warning")
    held = len(split.judged)
    context.log(f"{len(split.images) - held} images teach, {held} judge, {len(split.classes)} classes")
    return split


def _too_few_classes(store: ImageStore) -> str:
    if not store.classes:
        return "The dataset has no labels, so nothing can be judged by it."
    return "Fewer than two classes of the dataset have enough labelled images, so nothing can be judged by it."


if __name__ == "__main__":
    main(run, ProbeConfig, ProbeInputs)
