"""The distilled AlexNet in the formats people load; every file is loaded back and compared before it is handed out."""

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.checkpoint import CheckpointError, CheckpointRecord, load_checkpoint, load_classifier, load_record
from models.classifier import Classifier
from models.exporting import (
    folded_backbone,
    folded_classifier,
    torchvision_misfit,
    write_onnx,
    write_pt2,
    write_safetensors,
    write_torchvision,
)
from models.fold import fold_backbone
from models.heads import ClassifierHead
from models.load import load_alexnet, load_backbone
from models.model_card import FileCard, InputCard, ModelCard, load_lines, normalise_line
from worker.config.export import ExportConfig, Format
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.stages.contract import Context, Inputs, Produced, Result, StageError, Stopped
from worker.stages.frozen import opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.standalone import main

FILE_NAMES: dict[Format, str] = {
    "safetensors": "alexnet.safetensors",
    "torchvision": "alexnet.torchvision.pth",
    "onnx": "alexnet.onnx",
    "pt2": "alexnet.pt2",
}
CONVOLUTIONS_FILE = FILE_NAMES["safetensors"]
TEACHER_FILE = "teacher.safetensors"
PROBE_IMAGES = 3
"""Compared on this many random images: another batch size than the one the graphs were traced with."""
TOLERANCE = 1e-3
"""Largest difference allowed, as a share of the largest output: float32 rounding stays far below."""
SMALLEST_DIFFERENCE = 1e-6
"""A difference below this is rounding, whatever the outputs."""

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Probe:
    """What the trained network makes of some images: the written files must make the same of them."""

    images: Tensor
    expected: Tensor

    @classmethod
    def of(cls, trained: Network, side: int) -> "_Probe":
        """Images of Gaussian noise, as spread as normalised pixels are; raises `StageError(diverged)`."""
        images = torch.randn(PROBE_IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
        expected = trained(images)
        if not bool(torch.isfinite(expected).all()):
            raise StageError(Reason.diverged, "The network's outputs are not finite: its training diverged.")
        return cls(images, expected)


class ExportInputs(Inputs):
    student: Path
    teacher: Path | None = None


class ExportResult(Result):
    weights: Produced


def run(config: ExportConfig, inputs: ExportInputs, context: Context) -> ExportResult:
    """Fold batch norm, write each of `config.formats`, the teacher's convolutions and `model_card.json`, on the CPU.

    A format that doesn't fit the student (torchvision) is left out and logged; of a student without a head (feature
    distillation) only the convolutions are written, as safetensors. Raises StageError: artifact_corrupt for an
    unreadable checkpoint, bad_config where the student is no AlexNet, diverged where its outputs are not finite,
    disk_full. Raises Stopped between files.
    """
    context.resolved(config)
    record, backbone, head = _opened_student(inputs.student)
    folder = context.workdir / "weights"
    folder.mkdir(exist_ok=True)
    left_out = _left_out(config, record)
    for kind, why in left_out.items():
        context.log(f"The {kind} format is left out: {why}.", "warning")
    wanted = [kind for kind in config.formats if kind not in left_out]
    with machine_errors("exporting the weights"), torch.no_grad():
        if head is None:
            files = {"safetensors": _write_convolutions(record, backbone, folder / CONVOLUTIONS_FILE)}
            parameters = _parameters(fold_backbone(backbone))
        else:
            probe = _Probe.of(Classifier(backbone, head).eval(), record.crop)
            folded_record, folded = folded_classifier(record, backbone, head)
            files = _write_student(wanted, config.opset, folded_record, folded, probe, folder, context)
            parameters = _parameters(folded)
        teacher = opened_checkpoint(inputs.teacher) if inputs.teacher is not None else None
        if teacher is not None:
            files["teacher"] = _write_convolutions(*teacher, folder / TEACHER_FILE)
        card = _card(record, backbone, parameters, files, left_out, teacher[0] if teacher else None)
        (folder / "model_card.json").write_text(card.model_dump_json(indent=2) + "\n")
    return ExportResult(weights=Produced(kind=ArtifactKind.weights, path=folder, summary=_summary(card)))


def _opened_student(folder: Path) -> tuple[CheckpointRecord, Backbone, ClassifierHead | None]:
    try:
        if not load_record(folder).classes:
            record, backbone = load_checkpoint(folder)
            head = None
        else:
            record, backbone, head = load_classifier(folder)
    except CheckpointError as error:
        raise StageError(Reason.artifact_corrupt, f"The student can't be read: {error}.") from error
    if not record.backbone.is_alexnet:
        raise StageError(Reason.bad_config, f"Only AlexNets are exported; the student is a {record.backbone.arch}.")
    return record, backbone, head


def _left_out(config: ExportConfig, record: CheckpointRecord) -> dict[str, str]:
    if not record.classes:
        why = f"the student has no classifier, its convolutions are in {CONVOLUTIONS_FILE}"
        return {kind: why for kind in config.formats if kind != "safetensors"}
    misfit = torchvision_misfit(record)
    return {"torchvision": misfit} if misfit is not None and "torchvision" in config.formats else {}


def _write_student(
    wanted: list[Format],
    opset: int,
    record: CheckpointRecord,
    net: Classifier,
    probe: _Probe,
    folder: Path,
    context: Context,
) -> dict[str, FileCard]:
    files: dict[str, FileCard] = {}
    for done, kind in enumerate(wanted):
        if context.should_stop():
            raise Stopped
        context.progress(done, len(wanted), "files")
        path = folder / FILE_NAMES[kind]
        _write(kind, path, record, net, opset)
        files[kind] = _checked(kind, path, record.classes, _read_back(kind, path, record.classes), probe)
    context.progress(len(wanted), len(wanted), "files")
    return files


def _write(kind: Format, path: Path, record: CheckpointRecord, net: Classifier, opset: int) -> None:
    match kind:
        case "safetensors":
            write_safetensors(path, record, net.weights())
        case "torchvision":
            write_torchvision(path, net)
        case "onnx":
            write_onnx(path, net, record.crop, opset)
        case "pt2":
            write_pt2(path, net, record.crop)


def _read_back(kind: Format, path: Path, classes: int) -> Network | None:
    """The written file as a function, loaded as its readers will; None for ONNX where nothing here runs it."""
    match kind:
        case "safetensors":
            return load_alexnet(path)
        case "torchvision":
            return _torchvision_network(path, classes)
        case "onnx":
            return _onnx_network(path)
        case "pt2":
            return torch.export.load(path).module()


def _torchvision_network(path: Path, classes: int) -> Network:
    from torchvision.models import alexnet

    with torch.device("meta"):
        net = alexnet(num_classes=classes)
    net.load_state_dict(torch.load(path, weights_only=True), strict=True, assign=True)
    return net.eval()  # type: ignore[no-any-return]


def _onnx_network(path: Path) -> Network | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"image": images.numpy()})[0])


def _write_convolutions(record: CheckpointRecord, backbone: Backbone, path: Path) -> FileCard:
    probe = _Probe.of(backbone, record.crop)
    folded_record, folded = folded_backbone(record, backbone)
    write_safetensors(path, folded_record, dict(folded.published.state_dict()))
    return _checked("convolutions", path, record.classes, load_backbone(path), probe)


def _checked(kind: str, path: Path, classes: int, network: Network | None, probe: _Probe) -> FileCard:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    difference, compared = None, "not compared: onnxruntime is not installed here"
    if network is not None:
        difference = float((network(probe.images) - probe.expected).abs().max())
        compared = f"loaded back, outputs for {PROBE_IMAGES} images of Gaussian noise"
        if not difference <= TOLERANCE * float(probe.expected.abs().max()) + SMALLEST_DIFFERENCE:
            raise RuntimeError(f"{path.name} gives other outputs than the trained network: they differ by {difference}")
    return FileCard(
        name=path.name,
        bytes=path.stat().st_size,
        sha256=digest,
        load=load_lines(kind, path.name, classes),
        max_abs_diff=difference,
        compared=compared,
    )


def _parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def _card(
    record: CheckpointRecord,
    backbone: Backbone,
    parameters: int,
    files: dict[str, FileCard],
    left_out: dict[str, str],
    teacher: CheckpointRecord | None,
) -> ModelCard:
    return ModelCard(
        backbone=record.backbone,
        parameters=parameters,
        taps=backbone.tap_channels,
        input=InputCard(size=record.crop, pixels=record.pixels, normalise=normalise_line(record.pixels)),
        classes=record.classes,
        files=files,
        left_out=left_out,
        training=record.training,
        distilled_from=teacher.model_dump(mode="json", exclude={"head"}) if teacher is not None else None,
    )


def _summary(card: ModelCard) -> dict[str, Any]:
    facts = card.model_dump(mode="json", include={"backbone", "parameters", "classes", "left_out"})
    formats = {
        kind: {"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for kind, file in card.files.items()
    }
    return {**facts, "input_size": card.input.size, "formats": formats}


if __name__ == "__main__":
    main(run, ExportConfig, ExportInputs)
