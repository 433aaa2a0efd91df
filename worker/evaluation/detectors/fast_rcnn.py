"""Fast R-CNN (Girshick 2015; SPEC 8.2): one pass over the image, then a small network looks at each proposal."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, roi_align, roi_pool

from models.layers import init_he
from models.pixels import Pixels
from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detectors.boxes import decode, mirrored
from worker.evaluation.detectors.detector import Found
from worker.evaluation.detectors.pixels import batched, scaled_size, shown
from worker.evaluation.detectors.samples import Candidates, candidates, sample
from worker.evaluation.detectors.scenes import Scene, Scenes
from worker.evaluation.detectors.trunk import DetectionTrunk
from worker.stages.precision import Precision, autocast

POOLED = 6
"""Cells a side that a box becomes: what AlexNet's fc6 looks at."""
DROPOUT = 0.5
SCORES_STD, SHIFTS_STD = 0.01, 0.001
"""Of the last layers' weights at the start."""
TRAINED_AREA = 224.0 * 224.0
"""Pixels; with `merge="nearest"` a box is judged at the scale where its area is nearest to this."""
SINGLE_SHAPE = 1000 / 600
"""Longer by shorter side, at most, at the single test scale: the published one is 600 pixels, and 1000 at most."""
LEAST_SCORE = 1e-3
MOST_PER_CLASS = 300
"""Boxes that enter the suppression of overlapping ones, per class and image."""

SINGLE, MULTIPLE = "det_ss", "det_ms"


class FastRcnnNetwork(nn.Module):
    """A trunk, and fc6 and fc7 over each box, which tell its class and where the object really is."""

    def __init__(
        self, trunk: DetectionTrunk, classes: int, width: int, pooling: Literal["pool", "align"], precision: Precision
    ) -> None:
        """Draws the new layers from torch's global generator."""
        super().__init__()
        self.trunk = trunk
        self.classes = classes
        self.hidden = nn.Sequential(
            *[nn.Linear(trunk.out_channels * POOLED * POOLED, width), nn.ReLU(inplace=True), nn.Dropout(DROPOUT)],
            *[nn.Linear(width, width), nn.ReLU(inplace=True), nn.Dropout(DROPOUT)],
        )
        self.scores = nn.Linear(width, classes + 1)
        self.shifts = nn.Linear(width, classes * 4)
        self._pooling = pooling
        self._precision = precision
        init_he(list(self.hidden))
        for layer, deviation in ((self.scores, SCORES_STD), (self.shifts, SHIFTS_STD)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, h, w); boxes (k, 5): the image's number, x1, y1, x2, y2 in its pixels, half-open.

        Returns float32 logits (k, 1 + classes), background first, and normalised shifts (k, classes, 4).
        """
        return self.judge(self.trunk(images), boxes)

    def judge(self, maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, given the trunk's maps."""
        pooled = self._pooled(maps, boxes).flatten(1)
        with autocast(self._precision, maps.device):
            hidden = self.hidden(pooled)
            scores, shifts = self.scores(hidden), self.shifts(hidden)
        return scores.float(), shifts.float().view(-1, self.classes, 4)

    def _pooled(self, maps: Tensor, boxes: Tensor) -> Tensor:
        # Cells' middles lie at pixels stride * k: both poolings count in indices of pixels, not in their edges.
        scale = 1 / self.trunk.stride
        if self._pooling == "pool":
            inclusive = boxes - torch.tensor([0, 0, 0, 1, 1], dtype=boxes.dtype).to(boxes.device, non_blocking=True)
            pooled: Tensor = roi_pool(maps, inclusive, POOLED, scale)
            return pooled
        middles = boxes - torch.tensor([0, 0.5, 0.5, 0.5, 0.5]).to(boxes.device, non_blocking=True)
        aligned: Tensor = roi_align(maps, middles, POOLED, scale, sampling_ratio=2, aligned=False)
        return aligned


class RoiBatch(NamedTuple):
    """What a step learns from, on the device."""

    images: Tensor
    """float32 (N, 3, h, w)."""
    boxes: Tensor
    """float32 (k, 5): image, x1, y1, x2, y2."""
    labels: Tensor
    """int64 (k,), 0 = background."""
    targets: Tensor
    """float32 (k, 4)."""


class FastRcnn:
    """A `Detector`."""

    columns = (SINGLE, MULTIPLE)

    def __init__(
        self,
        network: FastRcnnNetwork,
        scenes: Scenes,
        protocol: VocDetectionProtocol,
        pixels: Pixels,
        device: torch.device,
    ) -> None:
        """`scenes` are learnt from; each has an object that isn't difficult."""
        self.network = network
        self.trunk = network.trunk
        self._scenes = scenes
        self._candidates: dict[int, Candidates] = {}
        """Of the scenes that were learnt from already."""
        self._protocol = protocol
        self._pixels = pixels
        self._device = device

    def losses(self, images: Sequence[int], generator: Generator) -> dict[str, Tensor]:
        batch = self.batch(images, generator)
        logits, shifts = self.network(batch.images, batch.boxes)
        return roi_losses(logits, shifts, batch.labels, batch.targets)

    def batch(self, images: Sequence[int], generator: Generator) -> RoiBatch:
        """Each image at a scale drawn at random, half of them mirrored, with `protocol.rois` boxes."""
        pixels, rows = [], []
        for number, image in enumerate(images):
            scene = self._scenes[image]
            found = self._candidates_of(image, scene)
            scale = self._protocol.scales[int(torch.randint(len(self._protocol.scales), (), generator=generator))]
            mirror = bool(torch.rand((), generator=generator) < 0.5)
            size = scaled_size(scene.size, scale, self._protocol.max_side)
            on_device = scene.pixels.to(self._device, non_blocking=True)
            pixels.append(shown(on_device, size, self._pixels, mirror))
            rows.append(_rows(number, scene, found, sample(found, self._protocol.rois, generator), size, mirror))
        # One transfer: image, box, target, label.
        together = _sent(torch.cat(rows), self._device)
        boxes, targets, labels = together[:, :5], together[:, 5:9], together[:, 9].long()
        return RoiBatch(batched(pixels, self.trunk.stride), boxes.contiguous(), labels, targets)

    def _candidates_of(self, image: int, scene: Scene) -> Candidates:
        if image not in self._candidates:
            self._candidates[image] = candidates(scene.proposals, scene.boxes, scene.classes, scene.difficult)
        return self._candidates[image]

    @torch.inference_mode()
    def detect(self, scene: Scene, column: str) -> Found:
        protocol = self._protocol
        if len(scene.proposals) == 0:
            return _nothing(self._device)
        scales, longest = (protocol.scales, protocol.max_side) if column == MULTIPLE else _single(protocol)
        image, proposals = (part.to(self._device, non_blocking=True) for part in (scene.pixels, scene.proposals))
        probabilities = torch.zeros(len(proposals), self.network.classes, device=self._device)
        boxes = torch.zeros(len(proposals), self.network.classes, 4, device=self._device)
        for scale, rows in _assigned(scene, scales, protocol):
            at = rows.to(self._device, non_blocking=True)
            here, there = self._judged(image, proposals[at], scaled_size(scene.size, scale, longest))
            probabilities.index_add_(0, at, here)
            boxes.index_add_(0, at, there)
        looks = len(scales) if protocol.merge == "mean" else 1
        return surest(boxes / looks, probabilities / looks, scene.size, protocol.nms, protocol.detections)

    def _judged(self, image: Tensor, proposals: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Probabilities (n, classes) and boxes (n, classes, 4), pixels of the original, seen at `size`."""
        factor = _factor(size, (image.shape[2], image.shape[1]), self._device)
        zeros = proposals.new_zeros(len(proposals), 1)
        pixels = batched([shown(image, size, self._pixels)], self.trunk.stride)
        logits, shifts = self.network(pixels, torch.cat([zeros, proposals * factor], dim=1))
        return logits.softmax(1)[:, 1:], decode(proposals[:, None], shifts)


def roi_losses(logits: Tensor, shifts: Tensor, labels: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Cross-entropy over the classes and background; smooth L1 over the shifts of the true class, foreground alone.

    Both are means over all boxes (k,), as published. Nothing here waits for the device.
    """
    own = (labels - 1).clamp_min(0)[:, None, None].expand(-1, 1, 4)
    chosen = shifts.gather(1, own)[:, 0]
    apart = functional.smooth_l1_loss(chosen, targets, reduction="none").sum(1)
    return {
        "classes": functional.cross_entropy(logits, labels),
        "boxes": torch.where(labels > 0, apart, 0.0).mean(),
    }


def surest(boxes: Tensor, probabilities: Tensor, size: tuple[int, int], nms: float, count: int) -> Found:
    """The `count` surest boxes of an image of `size` that no surer one of their class overlaps by more than `nms`.

    `boxes` (n, classes, 4), `probabilities` (n, classes).
    """
    best, rows = probabilities.topk(min(MOST_PER_CLASS, len(probabilities)), dim=0)
    labels = torch.arange(probabilities.shape[1], device=boxes.device).expand_as(best)
    kept = best > LEAST_SCORE
    scores, classes = best[kept], labels[kept]
    width, height = size
    corners = boxes[rows[kept], classes]
    corners = torch.stack([corners[:, 0::2].clamp(0, width), corners[:, 1::2].clamp(0, height)], dim=2).flatten(1)
    order = batched_nms(corners, scores, classes, nms)[:count]
    return Found(corners[order], classes[order], scores[order])


def _rows(number: int, scene: Scene, found: Candidates, chosen: Tensor, size: tuple[int, int], mirror: bool) -> Tensor:
    """(k, 10): the image's number, box as it is shown, target, label."""
    boxes, targets = found.boxes[chosen], found.targets[chosen]
    if mirror:
        boxes = mirrored(boxes, scene.size[0])
        targets = targets * torch.tensor([-1.0, 1, 1, 1])
    boxes = boxes * _factor(size, scene.size, boxes.device)
    numbers = torch.full((len(chosen), 1), float(number))
    return torch.cat([numbers, boxes, targets, found.labels[chosen, None].float()], dim=1)


def _single(protocol: VocDetectionProtocol) -> tuple[tuple[int, ...], int]:
    """The scale of the single-scale column, and the longest side at it."""
    return (protocol.test_scale,), min(protocol.max_side, round(protocol.test_scale * SINGLE_SHAPE))


def _assigned(scene: Scene, scales: Sequence[int], protocol: VocDetectionProtocol) -> Iterator[tuple[int, Tensor]]:
    """Each scale with the proposals that are judged at it, int64, on the CPU."""
    everything = torch.arange(len(scene.proposals))
    if protocol.merge == "mean" or len(scales) == 1:
        yield from ((scale, everything) for scale in scales)
        return
    sides = scene.proposals[:, 2:] - scene.proposals[:, :2]
    width, height = scene.size
    shown_sizes = [scaled_size(scene.size, scale, protocol.max_side) for scale in scales]
    enlarged = torch.tensor([(w / width) * (h / height) for w, h in shown_sizes])
    nearest = (sides.prod(1)[:, None] * enlarged - TRAINED_AREA).abs().argmin(1)
    for number, scale in enumerate(scales):
        if len(rows := (nearest == number).nonzero().flatten()):
            yield scale, rows


def _factor(size: tuple[int, int], original: tuple[int, int], device: torch.device) -> Tensor:
    """(4,): what boxes are multiplied by."""
    x, y = size[0] / original[0], size[1] / original[1]
    return torch.tensor([x, y, x, y]).to(device, non_blocking=True)


def _sent(values: Tensor, device: torch.device) -> Tensor:
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def _nothing(device: torch.device) -> Found:
    empty = torch.zeros(0, device=device)
    return Found(empty.view(0, 4), empty.long(), empty)
