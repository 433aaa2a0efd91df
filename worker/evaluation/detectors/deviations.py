"""How an evaluation of detection differs from the paper's, in words."""

from collections.abc import Iterator

import numpy as np

from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detectors.task import DetectionTask

VOC_CLASSES = 20
VOC_IMAGES = 5011, 4952
"""To learn from (trainval) and to judge by (test), of VOC2007."""
PUBLISHED = VocDetectionProtocol()
SMALL = 300
"""Pixels: photographs of VOC2007 have a short side of 333 to 500 in the main."""
_SOURCES = {
    "selective_search": "Selective search is OpenCV's fast strategy on images of at most {side} pixels.",
    "edge": "Proposals are EdgeBoxes on colour gradients, not selective search.",
    "grid": "Proposals are windows of fixed sizes, not selective search.",
    "given": "Proposals were given with the images.",
}


def deviations(protocol: VocDetectionProtocol, task: DetectionTask) -> tuple[str, ...]:
    """A sentence each; the paper: 20 classes of VOC2007, Fast R-CNN, 150,000 steps of two images (SPEC 8.2)."""
    return (*_of_data(task), *_of_training(protocol), *_of_detector(protocol), *_of_judging(protocol))


def _of_data(task: DetectionTask) -> Iterator[str]:
    if len(task.classes) != VOC_CLASSES:
        yield f"There are {len(task.classes)} classes, not {VOC_CLASSES}."
    twice = len(set(task.train) & set(task.test))
    if twice:
        yield f"{twice} of the judged images were learnt from too."
    if (len(task.train), len(task.test)) != VOC_IMAGES:
        learnt, judged = VOC_IMAGES
        yield f"{len(task.train)} images teach and {len(task.test)} judge; VOC2007 has {learnt} and {judged}."
    short = float(np.median([min(task.store.size(image)) for image in task.test]))
    if short < SMALL:
        yield f"The photographs' short side is {short:.0f} pixels in the middle, less than VOC's own."


def _of_training(protocol: VocDetectionProtocol) -> Iterator[str]:
    if (protocol.iterations, protocol.batch) != (PUBLISHED.iterations, PUBLISHED.batch):
        yield f"Training takes {protocol.iterations} steps of {protocol.batch} images, not 150000 of 2."
    if protocol.scales != PUBLISHED.scales:
        yield f"Training scales are {', '.join(map(str, protocol.scales))} pixels."
    if protocol.lr != PUBLISHED.lr:
        yield f"The learning rate starts at {protocol.lr:g}, not {PUBLISHED.lr:g}."
    if protocol.weight_decay != PUBLISHED.weight_decay:
        yield f"The weight decay is {protocol.weight_decay:g}, not {PUBLISHED.weight_decay:g}."
    if protocol.frozen != PUBLISHED.frozen:
        yield _frozen(protocol.frozen)
    if protocol.precision == "bf16":
        yield "Convolutions and linear layers compute in bfloat16."
    yield "Batch norm is folded into the convolutions, and gradients are clipped."


def _of_detector(protocol: VocDetectionProtocol) -> Iterator[str]:
    if protocol.detector == "faster_rcnn":
        yield "The detector is torchvision's Faster R-CNN, which finds its own proposals, not Fast R-CNN."
        return
    yield _SOURCES[protocol.proposals_source].format(side=protocol.proposals_side)
    if protocol.proposals < PUBLISHED.proposals:
        yield f"At most {protocol.proposals} proposals of an image are looked at."
    if protocol.rois != PUBLISHED.rois:
        yield f"{protocol.rois} boxes of an image teach in a step, not {PUBLISHED.rois}."
    yield (
        "Boxes that hardly touch an object teach too where an image has too few others, and boxes over difficult "
        "objects never do."
    )
    if protocol.test_scale != PUBLISHED.test_scale:
        yield f"The single test scale is {protocol.test_scale} pixels, not {PUBLISHED.test_scale}."
    if protocol.max_side != PUBLISHED.max_side:
        yield f"Images are shown with at most {protocol.max_side} pixels to a side, not {PUBLISHED.max_side}."
    if protocol.width != PUBLISHED.width:
        yield f"fc6 and fc7 have {protocol.width} units, not {PUBLISHED.width}."
    if protocol.pooling == "align":
        yield "Boxes are pooled by RoIAlign, not by RoI max pooling."
    if protocol.merge == "mean":
        yield "Scores and boxes are means over all test scales, not those of the scale that fits a box."


def _of_judging(protocol: VocDetectionProtocol) -> Iterator[str]:
    if protocol.nms != PUBLISHED.nms:
        yield f"Boxes are dropped that overlap a surer one by {protocol.nms:g}, not {PUBLISHED.nms:g}."
    if protocol.detections < PUBLISHED.detections:
        yield f"At most {protocol.detections} boxes of an image are judged, not {PUBLISHED.detections}."
    if protocol.ap == "all-point":
        yield "The AP is the area below the curve, not the mean at eleven recalls."


def _frozen(layers: int) -> str:
    told = "No layer stays as it is" if layers == 0 else f"conv1 to conv{layers} stay as they are"
    return f"{told}; the published code freezes conv1."
