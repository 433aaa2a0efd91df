"""Table 3 in small: the same checkpoints fine-tuned on annotated photographs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.quality_steps import Steps
from worker.config.ingest_voc import IngestVocConfig
from worker.config.scores import ScoreSheet
from worker.config.transfer import (
    AnyTransfer,
    TransferConfig,
    VocClassificationProtocol,
    VocDetectionProtocol,
    VocSegmentationProtocol,
)
from worker.stages import ingest_voc, transfer

DETECTED = ("person", "car", "bus", "train", "cat")
"""Classes that the subset's photographs of 2007 were chosen for; others are too rare in it to be judged."""
SEGMENTED = ("person", "cat", "dog", "horse", "sheep", "cow")


def voc_sheets(
    steps: Steps, devkit: Path, checkpoints: Mapping[str, Path], protocols: Sequence[str], *, gpu: bool
) -> dict[str, dict[str, ScoreSheet]]:
    """Method -> protocol -> what was found."""
    store = steps.take("ingest_voc", ingest_voc.run, IngestVocConfig(), ingest_voc.IngestVocInputs, {"source": devkit})
    sheets: dict[str, dict[str, ScoreSheet]] = {}
    for protocol in protocols:
        config = TransferConfig(protocol=_protocol(protocol, gpu=gpu))
        for method, checkpoint in checkpoints.items():
            inputs = {"annotations": store["annotations"], "checkpoint": checkpoint}
            judged = steps.take(f"{protocol}.{method}", transfer.run, config, transfer.TransferInputs, inputs)
            text = (judged["evaluation"] / "evaluation.json").read_text()
            sheets.setdefault(method, {})[protocol] = ScoreSheet.model_validate_json(text)
    return sheets


def _protocol(name: str, *, gpu: bool) -> AnyTransfer:
    """Raises ValueError for a name that is none of the three."""
    match name:
        case "classification":
            return _classification(gpu=gpu)
        case "detection":
            return _detection(gpu=gpu)
        case "segmentation":
            return _segmentation(gpu=gpu)
    raise ValueError(f"{name!r} is no evaluation on annotated photographs")


def _classification(*, gpu: bool) -> VocClassificationProtocol:
    return VocClassificationProtocol(
        train_set="VOC2007/Main/trainval",
        test_set="VOC2007/Main/test",
        classes=DETECTED,
        crop=160 if gpu else 112,
        iterations=800 if gpu else 500,
        batch=32,
        lr=0.005,
        lr_halves=6,
        width=1024 if gpu else 512,
    )


def _detection(*, gpu: bool) -> VocDetectionProtocol:
    return VocDetectionProtocol(
        train_set="VOC2007/Main/trainval",
        test_set="VOC2007/Main/test",
        classes=DETECTED,
        scales=(256, 320, 400) if gpu else (224,),
        test_scale=320 if gpu else 224,
        max_side=640,
        proposals_source="grid",
        proposals=1000 if gpu else 500,
        iterations=800 if gpu else 1500,
        batch=4 if gpu else 2,
        lr=0.004,
        width=1024 if gpu else 256,
    )


def _segmentation(*, gpu: bool) -> VocSegmentationProtocol:
    return VocSegmentationProtocol(
        train_set="VOC2012/Segmentation/train",
        test_set="VOC2012/Segmentation/val",
        classes=SEGMENTED,
        crop=224 if gpu else 160,
        mirror=True,
        iterations=1000 if gpu else 400,
        batch=16 if gpu else 8,
        lr=0.01,
        width=512,
    )
