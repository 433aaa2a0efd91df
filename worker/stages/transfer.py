"""Transfer: one checkpoint, fine-tuned on annotated photographs by one protocol, and judged (SPEC 8.1, 8.2, 8.3)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worker.config.pipeline import ArtifactKind
from worker.config.scores import ProtocolName, ScoreSheet
from worker.config.transfer import (
    AnyTransfer,
    TransferConfig,
    VocClassificationProtocol,
    VocDetectionProtocol,
    VocSegmentationProtocol,
)
from worker.data.annotated import AnnotatedStore
from worker.evaluation.detection import run_voc_detection
from worker.evaluation.provenance import checkpoint_provenance, code_revision
from worker.evaluation.segmentation import run_voc_segmentation
from worker.evaluation.transfer_result import TransferResult
from worker.evaluation.voc_classification import run_voc_classification
from worker.stages.contract import Context, Inputs, Produced, Result
from worker.stages.frozen import opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import fast_arithmetic, usable_device
from worker.stages.resumable import remove_state
from worker.stages.standalone import main


class TransferInputs(Inputs):
    annotations: Path
    checkpoint: Path


class TransferStageResult(Result):
    evaluation: Produced


def run(config: TransferConfig, inputs: TransferInputs, context: Context) -> TransferStageResult:
    """Fine-tunes and judges as the protocol says; the checkpoint itself is only read. A stopped evaluation goes on
    where it was.

    Raises `StageError` with bad_config (no such image set or class), bad_labels, weights_mismatch, diverged,
    out_of_memory, disk_full or artifact_corrupt.
    """
    device = usable_device(context.device)
    store = AnnotatedStore.open(inputs.annotations)
    record, _ = opened_checkpoint(inputs.checkpoint)
    context.resolved(config)
    with machine_errors("evaluating"), fast_arithmetic(device):
        result = _measured(config.protocol, inputs.checkpoint, store, device, context)
    sheet = _sheet(config.protocol, result, store, checkpoint_provenance(inputs.checkpoint, record))
    with machine_errors("writing the evaluation"):
        made = TransferStageResult(evaluation=_written(sheet, result, context.workdir / "evaluation"))
    remove_state(context.workdir)
    return made


def _measured(
    protocol: AnyTransfer, checkpoint: Path, store: AnnotatedStore, device: torch.device, context: Context
) -> TransferResult:
    match protocol:
        case VocClassificationProtocol():
            return run_voc_classification(protocol, checkpoint, store, device, context)
        case VocDetectionProtocol():
            return run_voc_detection(protocol, checkpoint, store, device, context)
        case VocSegmentationProtocol():
            return run_voc_segmentation(protocol, checkpoint, store, device, context)


def _sheet(
    protocol: AnyTransfer, result: TransferResult, store: AnnotatedStore, checkpoint: dict[str, Any]
) -> ScoreSheet:
    return ScoreSheet(
        protocol=ProtocolName(protocol.protocol),
        metric=result.metric,
        table=3,
        cells=dict(result.cells),
        further={metric: dict(cells) for metric, cells in result.further.items()},
        confidence=protocol.confidence,
        config=(result.protocol or protocol).model_dump(mode="json"),
        facts={**result.facts, "left_out_at_registration": store.problems},
        deviations=tuple(result.deviations),
        dataset=store.digest,
        checkpoint=checkpoint,
        trunk_unchanged=result.trunk_unchanged,
        revision=code_revision(),
    )


def _written(sheet: ScoreSheet, result: TransferResult, folder: Path) -> Produced:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images.json").write_text(json.dumps(list(result.image_ids)))
    for column, right in (result.right or {}).items():
        np.save(folder / f"right_{column}.npy", right.astype(np.float32))
    (folder / "evaluation.json").write_text(sheet.model_dump_json(indent=2))
    return Produced(kind=ArtifactKind.evaluation, path=folder, summary=sheet.model_dump(mode="json"))


if __name__ == "__main__":
    main(run, TransferConfig, TransferInputs)
