"""Context prediction: in which of eight directions does the second patch lie? (Doersch et al., ICCV 2015; SPEC 7.2)"""

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Generator, Tensor

from models.backbone import build_backbone, map_shape
from models.config import BackboneConfig
from models.heads import PuzzleHead
from models.pixels import ImagePixels
from worker.config.pretext.context import ContextConfig
from worker.data.store import ImageStore
from worker.pictures.tensor_image import captioned, image_of, side_by_side, with_square
from worker.pretext.patch_pairs import DIRECTIONS, NAMES, PairMaker
from worker.pretext.task import Examples, PretextNetwork, PretextTask, Scored, chance_of, told_apart
from worker.stages.contract import Context

FIRST, SECOND = (40, 90, 220), (220, 40, 40)


class PairNetwork(PretextNetwork):
    """One backbone and fc6 for both patches, then fc7 over the two."""

    def forward(self, patches: Tensor) -> Tensor:
        """(2P, 3, patch, patch), the patches of a pair one after the other -> logits (P, 8)."""
        logits: Tensor = self.head(self.backbone(patches))
        return logits


class ContextTask(PretextTask):
    def __init__(self, config: ContextConfig, backbone: BackboneConfig) -> None:
        self._config = config
        self.crop = int(config.crop)
        self.pixels = ImagePixels()
        self.chance_loss, self.chance_accuracy = chance_of(len(DIRECTIONS))
        self._maker = PairMaker(config)
        self._head = _head_arguments(config, backbone)
        self.network = PairNetwork(build_backbone(backbone), PuzzleHead(classes=len(DIRECTIONS), **self._head))

    def prepare(self, store: ImageStore, context: Context) -> None:
        if self._config.colour == "keep":
            message = "Colours are kept: chromatic aberration tells where in the photograph a patch lies."
            context.log(f"{message} `colour: drop` or `projection` prevents that.", "warning")
        if self._config.gap == 0:
            context.log(
                "There is no gap between patches: lines that go on across their edge tell the answer.", "warning"
            )

    def make(self, images: Tensor, generator: Generator) -> Examples:
        plan = self._maker.plan(len(images), generator)
        return Examples((self._maker.make(images, plan),), (plan.labels.to(images.device, non_blocking=True),))

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        return told_apart(outputs[0], targets[0])

    def pictures(self, images: Tensor, generator: Generator) -> Sequence[Image.Image]:
        """The image with its (first) pair framed, beside both patches as they are seen but for the normalisation."""
        plan = self._maker.plan(len(images), generator)
        patches = self._maker.seen(images, plan)
        each, patch = self._config.pairs_per_image, int(self._config.patch)
        shown = []
        for number, image in enumerate(images):
            pair = slice(2 * number * each, 2 * number * each + 2)
            whole = image_of(image)
            for (top, left), colour in zip(plan.corners[pair].tolist(), (FIRST, SECOND), strict=True):
                whole = with_square(whole, left, top, patch, colour)
            row = side_by_side([whole, *(image_of(seen) for seen in patches[pair])])
            shown.append(captioned(row, f"the second (red) lies {NAMES[plan.labels[number * each]]}"))
        return shown

    def head_arguments(self) -> dict[str, Any]:
        return self._head


def _head_arguments(config: ContextConfig, backbone: BackboneConfig) -> dict[str, Any]:
    channels, height, width = map_shape(backbone, int(config.patch))
    init = "gaussian" if backbone.norm == "lrn" else "he"
    return {"in_features": channels * height * width, "init": init, "tiles": 2, **config.head.model_dump()}
