"""Features of whole images: one tap of the teacher, pooled, streamed to a file (SPEC section 4)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.backbone import map_shape
from models.checkpoint import CheckpointRecord
from worker.clustering.features import FeatureFacts, Pooling
from worker.clustering.rows import RowFile
from worker.config.base import DatasetFacts
from worker.config.extract import ExtractConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.feature_rows import numpy_type, stored, write_rows
from worker.stages.frozen import FrozenNetwork, check_crop, checkpoint_facts, opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import fast_arithmetic, resolved_precision, usable_device
from worker.stages.standalone import main

ALEXNET_POOL, VGG_POOL = 5, 4
"""5 x 5 x 384 = 9600 and 4 x 4 x 512 = 8192 values at conv4 (paper)."""


class ExtractInputs(Inputs):
    store: Path
    teacher: Path


class ExtractResult(Result):
    features: Produced


def run(config: ExtractConfig, inputs: ExtractInputs, context: Context) -> ExtractResult:
    """Rows are the pooled map flattened channel by channel: value `c, y, x` lies at `(c * pool + y) * pool + x`.

    The network runs in eval mode on the centre crop; its maps are taken after ReLU, pooled to `pool` x `pool`, with
    `mirror` averaged over the image and its mirror image, and in fp16 limited to its finite range, +-65504. An
    interrupted extraction goes on where it stopped.
    """
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    record, backbone = opened_checkpoint(inputs.teacher, config.conv1_stride)
    if config.tap not in backbone.tap_channels:
        message = f"The network has no map called {config.tap}; it has {backbone.told_taps()}."
        raise StageError(Reason.bad_config, message)
    config = _resolved(config, store, record, device)
    context.resolved(config)
    facts = _facts(config, store, record, checkpoint_facts(inputs.teacher, record))
    network = FrozenNetwork(backbone, record.pixels, device, resolved_precision(config.precision, device))
    folder = context.workdir / "features"
    with machine_errors("writing the features"), fast_arithmetic(device):
        rows = RowFile(folder, (facts.count, facts.dim), numpy_type(config.dtype), _fingerprint(config, facts))
        rows.take_over(context.resume_from / "features" if context.resume_from else None)
        with rows:
            _extract(config, store, network, rows, context)
        (folder / "features.json").write_text(facts.model_dump_json(indent=2))
    summary = facts.model_dump(mode="json")
    return ExtractResult(features=Produced(kind=ArtifactKind.feature_set, path=folder, summary=summary))


def _resolved(
    config: ExtractConfig, store: ImageStore, record: CheckpointRecord, device: torch.device
) -> ExtractConfig:
    arch = record.backbone.arch
    if config.conv1_stride is not None and not record.backbone.is_alexnet:
        raise StageError(Reason.bad_config, f"`conv1_stride` is for AlexNet teachers; this one is {arch}.")
    config = config.resolved(DatasetFacts(image_count=store.count, side=store.side))
    side, crop = int(config.side), int(config.crop)
    check_crop(side, crop)
    map_side = map_shape(record.backbone, crop, config.tap)[1]
    published = ALEXNET_POOL if record.backbone.is_alexnet else VGG_POOL
    pool = min(published, map_side) if config.pool == "auto" else config.pool
    if pool > map_side:
        message = f"{config.tap} is {map_side} x {map_side} at a crop of {crop}: it can't be pooled to {pool} x {pool}."
        raise StageError(Reason.bad_config, message)
    return config.model_copy(update={"pool": pool, "precision": resolved_precision(config.precision, device)})


def _facts(
    config: ExtractConfig, store: ImageStore, record: CheckpointRecord, checkpoint: dict[str, Any]
) -> FeatureFacts:
    channels = map_shape(record.backbone, int(config.crop), config.tap)[0]
    shape = (channels, int(config.pool), int(config.pool))
    return FeatureFacts(
        count=store.count,
        dim=channels * int(config.pool) ** 2,
        tap=config.tap,
        shape=shape,
        dtype=config.dtype,
        side=int(config.side),
        crop=int(config.crop),
        conv1_stride=record.backbone.conv1_stride if record.backbone.is_alexnet else None,
        store=store.digest,
        checkpoint=checkpoint,
        pooling=config.pooling,
        mirror=config.mirror,
    )


def _fingerprint(config: ExtractConfig, facts: FeatureFacts) -> str:
    return json.dumps({"config": config.model_dump(mode="json"), "facts": facts.model_dump(mode="json")})


def _extract(config: ExtractConfig, store: ImageStore, network: FrozenNetwork, rows: RowFile, context: Context) -> None:
    def pooled(images: Tensor) -> Tensor:
        maps = network.taps(images, [config.tap], int(config.crop))[config.tap]
        return pooled_rows(maps, int(config.pool), config.pooling)

    def rows_of(images: Tensor) -> NDArray[np.floating[Any]]:
        values = pooled(images)
        if config.mirror:
            values = (values + pooled(images.flip(-1))) / 2
        return stored(values, config.dtype)

    write_rows(rows, store, int(config.side), config.batch, rows_of, context)


def pooled_rows(maps: Tensor, pool: int, pooling: Pooling = "max") -> Tensor:
    """(N, C, h, w) -> float32 (N, C * pool * pool) pooled values, flattened channel by channel."""
    values = maps.float()
    if pooling == "average":
        return functional.adaptive_avg_pool2d(values, pool).flatten(1)
    return functional.adaptive_max_pool2d(values, pool).flatten(1)


if __name__ == "__main__":
    main(run, ExtractConfig, ExtractInputs)
