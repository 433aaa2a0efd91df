"""Faster R-CNN (Ren et al. 2015) on torchvision's detection stack: it finds its own proposals."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from models.pixels import Pixels
from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detectors.boxes import mirrored
from worker.evaluation.detectors.detector import Found
from worker.evaluation.detectors.pixels import shown
from worker.evaluation.detectors.scenes import Scene, Scenes
from worker.evaluation.detectors.trunk import DetectionTrunk

COLUMN = "faster_rcnn"
POOLED = 7
ANCHORS = (32, 64, 128, 256, 512)
"""Sides in pixels of the shown image, each with the ratios 1/2, 1, 2: torchvision's own."""
RATIOS = (0.5, 1.0, 2.0)
LEAST_SCORE = 1e-3


def faster_rcnn_network(trunk: DetectionTrunk, classes: int, protocol: VocDetectionProtocol) -> FasterRCNN:
    """torchvision's network over `trunk`'s one map; draws the new layers from torch's global generator.

    Images come normalised; torchvision resizes them, short side to one of `protocol.scales`.
    """
    return FasterRCNN(
        trunk,
        min_size=protocol.scales,
        max_size=protocol.max_side,
        image_mean=(0.0, 0.0, 0.0),
        image_std=(1.0, 1.0, 1.0),
        rpn_anchor_generator=AnchorGenerator((ANCHORS,), (RATIOS,)),
        box_roi_pool=MultiScaleRoIAlign(["0"], POOLED, 2),
        box_head=TwoMLPHead(trunk.out_channels * POOLED * POOLED, protocol.width),
        box_predictor=FastRCNNPredictor(protocol.width, classes + 1),
        box_score_thresh=LEAST_SCORE,
        box_nms_thresh=protocol.nms,
        box_detections_per_img=protocol.detections,
    )


class FasterRcnn:
    """A `Detector`. torchvision draws scales and samples inside, from the global generators, and waits for the device
    in every step: it checks the boxes."""

    columns = (COLUMN,)

    def __init__(
        self,
        network: FasterRCNN,
        scenes: Scenes,
        protocol: VocDetectionProtocol,
        pixels: Pixels,
        device: torch.device,
    ) -> None:
        """`scenes` are learnt from."""
        self.network = network
        self.trunk: DetectionTrunk = network.backbone
        self._scenes = scenes
        self._protocol = protocol
        self._pixels = pixels
        self._device = device

    def losses(self, images: Sequence[int], generator: Generator) -> dict[str, Tensor]:
        self.network.transform.min_size = self._protocol.scales
        mirror = torch.rand(len(images), generator=generator) < 0.5
        shown_images, targets = [], []
        for image, turned in zip(images, mirror.tolist(), strict=True):
            scene = self._scenes[image]
            shown_images.append(self._shown(scene, turned))
            targets.append(self._target(scene, turned))
        losses: dict[str, Tensor] = self.network(shown_images, targets)
        return {name.removeprefix("loss_"): loss for name, loss in losses.items()}

    @torch.inference_mode()
    def detect(self, scene: Scene, column: str) -> Found:
        self.network.transform.min_size = (self._protocol.test_scale,)
        found = self.network([self._shown(scene, mirror=False)])[0]
        return Found(found["boxes"], found["labels"] - 1, found["scores"])

    def _shown(self, scene: Scene, mirror: bool) -> Tensor:
        return shown(scene.pixels.to(self._device, non_blocking=True), scene.size, self._pixels, mirror)

    def _target(self, scene: Scene, mirror: bool) -> dict[str, Tensor]:
        """Difficult objects are left out, as torchvision has no way to ignore them."""
        boxes, classes = scene.boxes[~scene.difficult], scene.classes[~scene.difficult]
        if mirror:
            boxes = mirrored(boxes, scene.size[0])
        target = {"boxes": boxes, "labels": classes + 1}
        return {name: value.to(self._device, non_blocking=True) for name, value in target.items()}
