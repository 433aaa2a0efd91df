"""The user's own teacher: their weights as a checkpoint, whole or refused with a report of the keys."""

from pathlib import Path

from models.checkpoint import CheckpointRecord, save_checkpoint
from models.importing import BadWeights, KeyReport, WeightsMismatch, import_backbone, read_weights
from models.library import NoSuchNetwork
from models.pixels import ImagenetPixels, ImagePixels
from worker.config.export import ImportWeightsConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.machine_errors import machine_errors
from worker.stages.standalone import main


class ImportWeightsInputs(Inputs):
    upload: Path
    """A directory with one file: safetensors, or a state_dict without code."""


class ImportWeightsResult(Result):
    checkpoint: Produced


def run(config: ImportWeightsConfig, inputs: ImportWeightsInputs, context: Context) -> ImportWeightsResult:
    """Load the uploaded file into `config.backbone` and save it as a teacher.

    Raises StageError: bad_weights where the file is no weights (or carries code), weights_mismatch with the keys where
    a layer stays unloaded or (unless `allow_unused`) a key fits none, bad_config where there is no such network or it
    makes no maps, disk_full.
    """
    context.resolved(config)
    file = _only_file(inputs.upload)
    context.progress(0, 1, "file")
    folder = context.workdir / "checkpoint"
    try:
        weights = read_weights(file)
        backbone, report = import_backbone(config.backbone, weights, config.prefix, allow_unused=config.allow_unused)
    except BadWeights as error:
        raise StageError(Reason.bad_weights, f"{file.name} can't be used: {error}.") from error
    except WeightsMismatch as error:
        told = f"{file.name} doesn't fit {config.backbone.told}: {error}."
        raise StageError(Reason.weights_mismatch, told) from error
    except NoSuchNetwork as error:
        raise StageError(Reason.bad_config, f"The network can't be built: {error}.") from error
    _tell(report, context)
    context.log(f"Its maps: {backbone.told_taps()}.")
    record = _record(config, report)
    with machine_errors("saving the checkpoint"):
        save_checkpoint(folder, record, backbone, None)
    context.progress(1, 1, "file")
    summary = record.model_dump(mode="json", exclude={"head"})
    return ImportWeightsResult(checkpoint=Produced(kind=ArtifactKind.checkpoint, path=folder, summary=summary))


def _only_file(upload: Path) -> Path:
    files = [path for path in upload.iterdir() if path.is_file()] if upload.is_dir() else []
    if len(files) != 1:
        raise StageError(Reason.bad_weights, f"The upload holds {len(files)} files, not one.")
    return files[0]


def _tell(report: KeyReport, context: Context) -> None:
    context.log(f"{len(report.loaded)} keys loaded; {len(report.ignored)} of a classifier ignored.")
    if report.unexpected:
        context.log(f"Unused keys: {', '.join(report.unexpected)}.", "warning")


def _record(config: ImportWeightsConfig, report: KeyReport) -> CheckpointRecord:
    return CheckpointRecord(
        role="teacher",
        backbone=config.backbone,
        crop=config.crop,
        pixels=ImagenetPixels() if config.input_std == "imagenet" else ImagePixels(),
        classes=0,
        training={
            "imported": True,
            "keys_loaded": len(report.loaded),
            "keys_ignored": len(report.ignored),
            "keys_unused": len(report.unexpected),
        },
    )


if __name__ == "__main__":
    main(run, ImportWeightsConfig, ImportWeightsInputs)
