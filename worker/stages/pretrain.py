"""Train the teacher on Jigsaw++ puzzles (paper section 3; SPEC section 3)."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from models.backbone import Backbone, build_backbone, map_shape
from models.checkpoint import CheckpointRecord, save_checkpoint
from models.heads import PuzzleHead
from models.pixels import ImagePixels
from worker.config.base import DatasetFacts
from worker.config.pipeline import ArtifactKind
from worker.config.pretrain import PretrainConfig
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.pretext.jigsaw import CELLS, JigsawMaker
from worker.pretext.permutations import PermutationSet, make_permutations
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import Precision, usable_device
from worker.stages.randomness import derived_seed, numpy_generator, torch_generator
from worker.stages.standalone import main
from worker.stages.task import Examples, Indices
from worker.stages.training import train


class PretrainInputs(Inputs):
    store: Path


class PretrainResult(Result):
    teacher: Produced


def run(config: PretrainConfig, inputs: PretrainInputs, context: Context) -> PretrainResult:
    """Raises `StageError` with too_few_images, images_too_small, bad_config, device_unavailable, diverged, ..."""
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    config = _resolved_by_store(config, store)
    permutations = make_permutations(config.pretext.permutations, config.pretext.min_hamming, config.seed)
    context.log(
        f"{config.pretext.permutations} permutations: any two differ in at least {permutations.min_hamming} of "
        f"{CELLS} slots, {permutations.mean_hamming:.2f} on average."
    )
    task = PuzzleTask(config, store, permutations)
    facts, config = train(task, config, store.digest, device, context)
    facts |= {
        "dataset": store.digest,
        "images": store.count,
        "permutations": config.pretext.permutations,
        "min_hamming": permutations.min_hamming,
        "mean_hamming": permutations.mean_hamming,
    }
    return PretrainResult(teacher=_write(task.network, config, facts, context.workdir / "teacher"))


class PuzzleNetwork(nn.Module):
    """The siamese network: one backbone and fc6 for every tile, then fc7 over a puzzle's nine slots (SPEC 3.4, 3.5)."""

    def __init__(self, backbone: Backbone, head: PuzzleHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, tiles: Tensor, arrangement: Tensor) -> Tensor:
        """Tiles (M, 3, tile, tile), and which of them lie in each slot, int64 (P, 9) -> logits (P, permutations).

        A tile that lies in several puzzles is encoded once.
        """
        embeddings = self.head.embed(self.backbone(tiles))
        slots = embeddings.index_select(0, arrangement.flatten())
        return self.head.solve(slots.view(-1, CELLS, embeddings.shape[1]))


class PuzzleTask:
    """Telling by which permutation the tiles were laid."""

    label_smoothing = 0.0

    def __init__(self, config: PretrainConfig, store: ImageStore, permutations: PermutationSet) -> None:
        self.store = store
        self.side = _resolved_size(config.pretext.side)
        self.classes = len(permutations.table)
        self.network = puzzle_network(config)
        self._seed = config.seed
        table = torch.from_numpy(permutations.table)
        self._maker = JigsawMaker(config.pretext, table, config.puzzles_per_image)

    def epoch_order(self, epoch: int) -> Indices:
        return numpy_generator(self._seed, "epoch", epoch).permutation(self.store.count)

    def examples(self, images: Tensor, indices: Indices, step: int) -> Examples:
        batch = self._maker.make(images, torch_generator(self._seed, "puzzles", step))
        return Examples((batch.tiles, batch.arrangement), batch.labels)

    def monitor(self, network: nn.Module, precision: Precision) -> dict[str, float]:
        return {}


def puzzle_network(config: PretrainConfig) -> PuzzleNetwork:
    """Fresh weights by the config's seed; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        backbone = build_backbone(config.backbone)
        return PuzzleNetwork(backbone, PuzzleHead(classes=config.pretext.permutations, **_head_arguments(config)))


def _head_arguments(config: PretrainConfig) -> dict[str, Any]:
    channels, height, width = map_shape(config.backbone, _resolved_size(config.pretext.tile))
    init = "gaussian" if config.backbone.norm == "lrn" else "he"
    return {"in_features": channels * height * width, "init": init, **config.head.model_dump()}


def _resolved_by_store(config: PretrainConfig, store: ImageStore) -> PretrainConfig:
    """Raises `StageError` where these images give no puzzles."""
    if store.count < 2:
        raise StageError(Reason.too_few_images, f"Puzzles need at least two images, and there is {store.count}.")
    facts = DatasetFacts(image_count=store.count, side=store.side, class_count=len(store.classes))
    too_small = partial(StageError, Reason.images_too_small)
    try:
        config = config.resolved(facts)
    except ValidationError as error:
        raise too_small(f"No puzzle can be cut from images of {store.side} px: {error.errors()[0]['msg']}.") from error
    if _resolved_size(config.pretext.side) > store.side:
        raise too_small(f"`pretext.side` is {config.pretext.side}, but the stored images have {store.side} px.")
    try:
        map_shape(config.backbone, _resolved_size(config.pretext.tile))
    except RuntimeError as error:
        arch = config.backbone.arch
        raise too_small(f"Tiles of {config.pretext.tile} px are too small for {arch}: {error}.") from error
    return config


def _write(network: PuzzleNetwork, config: PretrainConfig, facts: dict[str, Any], folder: Path) -> Produced:
    record = CheckpointRecord(
        role="teacher",
        backbone=config.backbone,
        crop=_resolved_size(config.pretext.crop),
        pixels=ImagePixels(std=config.pretext.tile_std),
        classes=config.pretext.permutations,
        head=_head_arguments(config),
        training=facts | {"config": config.model_dump(mode="json")},
    )
    network.to(memory_format=torch.contiguous_format)
    with machine_errors("writing the teacher"):
        save_checkpoint(folder, record, network.backbone, network.head)
    return Produced(kind=ArtifactKind.checkpoint, path=folder, summary={"role": record.role, **facts})


def _resolved_size(size: int | str) -> int:
    assert isinstance(size, int)  # `_resolved_by_store` comes first
    return size


if __name__ == "__main__":
    main(run, PretrainConfig, PretrainInputs)
