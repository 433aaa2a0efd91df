"""Jigsaw and Jigsaw++: by which permutation were the nine tiles laid? (paper section 3; SPEC section 3)"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from models.backbone import Backbone, build_backbone, map_shape
from models.config import BackboneConfig
from models.heads import PuzzleHead
from models.pixels import ImagePixels
from worker.config.pretext.jigsaw import PuzzleConfig
from worker.data.store import ImageStore
from worker.pictures.puzzle import puzzle_picture
from worker.pretext.permutations import make_permutations
from worker.pretext.puzzles import CELLS, JigsawMaker
from worker.pretext.shortcuts import open_shortcuts
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored, chance_of, told_apart
from worker.stages.contract import Context


class PuzzleNetwork(PretextNetwork):
    """The siamese network: one backbone and fc6 for every tile, then fc7 over a puzzle's nine slots (SPEC 3.4, 3.5)."""

    head: PuzzleHead

    def __init__(self, backbone: Backbone, head: PuzzleHead) -> None:
        super().__init__(backbone, head)

    def forward(self, tiles: Tensor, arrangement: Tensor) -> Tensor:
        """Tiles (M, 3, tile, tile), and which of them lie in each slot, int64 (P, 9) -> logits (P, permutations).

        A tile that lies in several puzzles is encoded once.
        """
        embeddings = self.head.embed(self.backbone(tiles))
        slots = embeddings.index_select(0, arrangement.flatten())
        return self.head.solve(slots.view(-1, CELLS, embeddings.shape[1]))


class JigsawTask(PretextTask):
    """Raises `StageError(bad_config)` for permutations that can't be, RuntimeError where tiles are too small."""

    def __init__(self, config: PuzzleConfig, backbone: BackboneConfig, seed: int) -> None:
        self._config = config
        self._permutations = make_permutations(config.permutations, config.min_hamming, seed)
        self.chance_loss, self.chance_accuracy = chance_of(config.permutations)
        self.pixels = ImagePixels(std=config.tile_std)
        self.crop = int(config.crop)
        self._maker = JigsawMaker(config, torch.from_numpy(self._permutations.table))
        self._head = _head_arguments(config, backbone)
        self.network = PuzzleNetwork(build_backbone(backbone), PuzzleHead(classes=config.permutations, **self._head))

    def prepare(self, store: ImageStore, context: Context) -> None:
        context.log(
            f"{self._config.permutations} permutations: any two differ in at least {self._permutations.min_hamming} "
            f"of {CELLS} slots, {self._permutations.mean_hamming:.2f} on average."
        )
        for shortcut in open_shortcuts(self._config):
            context.log(f"These puzzles leave a shortcut open. {shortcut}", "warning")

    def make(self, images: Tensor, generator: Generator) -> Examples:
        batch = self._maker.make(images, generator)
        return Examples((batch.tiles, batch.arrangement), (batch.labels,))

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        return told_apart(outputs[0], targets[0])

    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """The image beside its (first) laid puzzle; slots that show another image's tile are framed."""
        plan = self._maker.plan(len(images), generator)
        each = self._config.puzzles_per_image
        tiles = self._maker.cut(images, plan)[plan.arrangement[::each]]
        told = (plan.occluded[::each].tolist(), plan.permutations[::each].tolist())
        return [puzzle_picture(*drawn) for drawn in zip(images, tiles, *told, strict=True)]

    def facts(self) -> dict[str, Any]:
        made = self._permutations
        return {
            "permutations": len(made.table),
            "min_hamming": made.min_hamming,
            "mean_hamming": made.mean_hamming,
        }

    def head_arguments(self) -> dict[str, Any]:
        return self._head


def _head_arguments(config: PuzzleConfig, backbone: BackboneConfig) -> dict[str, Any]:
    channels, height, width = map_shape(backbone, int(config.tile))
    init = "gaussian" if backbone.norm == "lrn" else "he"
    return {"in_features": channels * height * width, "init": init, **config.head.model_dump()}
