"""An untrained network in the teacher's place: the `Random` rows of the paper's tables."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.backbone import Backbone
from models.checkpoint import CheckpointRecord
from models.library import NoSuchNetwork
from models.pixels import ImagenetPixels
from worker.config.base import DatasetFacts
from worker.config.reasons import Reason
from worker.config.sources import InitialiseConfig
from worker.data.store import ImageStore
from worker.evaluation.contenders import CALIBRATION_IMAGES, calibrate, untrained, view_of
from worker.stages.checkpoint import write_checkpoint
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.frozen import FrozenNetwork
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import fast_arithmetic, usable_device
from worker.stages.standalone import main


class InitialiseInputs(Inputs):
    store: Path


class InitialiseResult(Result):
    teacher: Produced


def run(config: InitialiseConfig, inputs: InitialiseInputs, context: Context) -> InitialiseResult:
    """Fresh weights by the seed, the same as those of the evaluation's untrained network of that seed.

    With `calibrate` the batch norms hold the statistics of up to 1024 of the store's images: nothing is learnt, but
    the maps are in the range that a trained network's are in. Raises `StageError`: images_too_small, bad_config (no
    such network).
    """
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    config = config.resolved(DatasetFacts(image_count=store.count, side=store.side))
    context.resolved(config)
    if int(config.crop) > store.side:
        message = f"`crop` is {config.crop}, but the stored images have {store.side} px."
        raise StageError(Reason.images_too_small, message)
    record = _record(config, store)
    backbone = _built(record, config.seed)
    if config.calibrate:
        _calibrate(backbone, record, store, config.seed, device)
    teacher = write_checkpoint(context.workdir / "teacher", record, backbone, None)
    context.progress(1, 1, "networks")
    return InitialiseResult(teacher=teacher)


def _record(config: InitialiseConfig, store: ImageStore) -> CheckpointRecord:
    calibrated_on = min(store.count, CALIBRATION_IMAGES) if config.calibrate else 0
    training: dict[str, Any] = {"untrained": True, "epochs": 0, "images_seen": 0, "images_calibrated_on": calibrated_on}
    training |= {"dataset": store.digest, "photographs": store.photographs, "config": config.model_dump(mode="json")}
    return CheckpointRecord(
        role="teacher",
        backbone=config.backbone,
        crop=int(config.crop),
        pixels=ImagenetPixels(),
        classes=0,
        training=training,
    )


def _built(record: CheckpointRecord, seed: int) -> Backbone:
    try:
        return untrained(record, seed)
    except NoSuchNetwork as error:
        raise StageError(Reason.bad_config, f"The network can't be built: {error}.") from error


def _calibrate(
    backbone: Backbone, record: CheckpointRecord, store: ImageStore, seed: int, device: torch.device
) -> None:
    with machine_errors("estimating the statistics"), fast_arithmetic(device):
        network = FrozenNetwork(backbone, record.pixels, device, "fp32")
        calibrate(network, store, np.arange(store.count), view_of(record, store), seed, device)
    backbone.to("cpu")


if __name__ == "__main__":
    main(run, InitialiseConfig, InitialiseInputs)
