"""How good a detector's boxes are, by PASCAL VOC's rules.

In each image and class, detections look at the objects in the order of their scores. A detection that overlaps the
object it overlaps most by half or more finds it, if no surer detection found it before: another is a false positive,
and so is one without an object. A detection of a difficult object counts neither for nor against (devkit VOC2007 to
VOC2012, `VOCevaldet.m`). COCO's rules differ: there, a detection may take the next best object that is still free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.evaluation.average_precision import ApRule, average_precision, weighted_average_precision

OVERLAP = 0.5
"""Intersection over union from which on a detection finds an object."""
FOUND, FALSE, IGNORED = 1, 0, -1
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Boxes:
    """Boxes of many images, flat: of objects, or of a detector."""

    image: Integers
    """(n,), position of the image among the judged ones."""
    label: Integers
    """(n,), class 0 .. classes - 1."""
    box: Floats
    """(n, 4): x1, y1, x2, y2 in pixels, half-open."""
    score: Floats
    """(n,), of a detector: higher = surer. Of objects: 0."""
    difficult: NDArray[np.bool_]
    """(n,), of objects. Of a detector: False."""

    def __len__(self) -> int:
        return len(self.image)

    def of_class(self, label: int) -> "Boxes":
        return self._at(self.label == label)

    def sorted_by_score(self) -> "Boxes":
        """The surest first; equal scores in the order they came."""
        return self._at(np.argsort(-self.score, kind="stable"))

    def _at(self, rows: NDArray[np.bool_] | Integers) -> "Boxes":
        return Boxes(self.image[rows], self.label[rows], self.box[rows], self.score[rows], self.difficult[rows])


class Judged(NamedTuple):
    """The detections of one class, the surest first."""

    image: Integers
    score: Floats
    verdict: Integers
    """FOUND, FALSE or IGNORED."""
    objects: Integers
    """(images,): objects of the class in each image that are to be found, difficult ones left out."""

    def average_precision(self, rule: ApRule) -> float:
        """0..1; NaN where no image has an object of the class."""
        scores, found, ignored = self._as_tensors()
        return average_precision(scores, found, rule, ignored, float(self.objects.sum()))

    def resampled(self, weights: Tensor, rule: ApRule) -> Tensor:
        """The average precision of each sample of images, float64 (samples,): `weights`, float64 (samples, images),
        says how often each holds every image. NaN for samples without an object."""
        scores, found, ignored = self._as_tensors()
        totals = weights @ torch.from_numpy(self.objects).double()
        of_rows = weights[:, torch.from_numpy(self.image)]
        return weighted_average_precision(scores, found, of_rows, rule, ignored, totals)

    def precision_sums(self) -> Floats:
        """(images,): of each image, the sum of the precisions reached at its found objects, ranked by themselves."""
        images = len(self.objects)
        counted = np.flatnonzero(self.verdict != IGNORED)
        rows = counted[np.argsort(self.image[counted], kind="stable")]
        image, found = self.image[rows], self.verdict[rows] == FOUND
        first = np.searchsorted(image, image)
        ends = np.concatenate([[0], found.cumsum()])
        precision = (ends[1:] - ends[first]) / (np.arange(len(rows)) - first + 1)
        return np.bincount(image, precision * found, minlength=images).astype(np.float64)

    def _as_tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        verdict = torch.from_numpy(self.verdict)
        return torch.from_numpy(self.score), verdict == FOUND, verdict == IGNORED


def judge(detections: Boxes, objects: Boxes, classes: int, images: int) -> list[Judged]:
    """The verdict on every detection, class by class."""
    return [_judge_class(detections.of_class(c).sorted_by_score(), objects.of_class(c), images) for c in range(classes)]


def mean_average_precision(judged: Sequence[Judged], rule: ApRule) -> float:
    """Over the classes that have objects to find; NaN where none has."""
    return float(np.nanmean([one.average_precision(rule) for one in judged] or [np.nan]))


def resampled(judged: Sequence[Judged], rule: ApRule, weights: Tensor) -> Tensor:
    """The average precisions of each sample of images, (classes, samples); `weights` as in `Judged.resampled`."""
    return torch.stack([one.resampled(weights, rule) for one in judged])


def image_scores(judged: Sequence[Judged]) -> Floats:
    """Of every image the mean average precision within it, over the classes that it has objects of: (images,), 0..1.

    The area below the curve, not interpolated; 1 for an image without an object to find. It makes two detectors
    comparable image by image, which average precision over images does not.
    """
    shown = np.stack([one.objects > 0 for one in judged])
    found = np.stack([one.precision_sums() for one in judged])
    each = found / np.maximum(1, np.stack([one.objects for one in judged]))
    means: Floats = np.where(shown.any(0), each.sum(0) / np.maximum(1, shown.sum(0)), 1.0)
    return means


def recall(proposals: Sequence[Floats], objects: Boxes) -> float:
    """Share of the objects, difficult ones left out, that a proposal of their image overlaps by half or more: what no
    detector on these proposals can exceed by much. NaN without objects."""
    met = [
        len(proposals[image]) > 0 and overlaps(box[None], proposals[image]).max() >= OVERLAP
        for image, box, difficult in zip(objects.image, objects.box, objects.difficult, strict=True)
        if not difficult
    ]
    return float(np.mean(met)) if met else float("nan")


def overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every pair, (n, m)."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    sides = np.clip(np.minimum(first[:, None, 2:], second[None, :, 2:]) - corner, 0, None)
    shared = sides.prod(-1)
    together = _areas(first)[:, None] + _areas(second)[None] - shared
    shares: Floats = np.divide(shared, together, out=np.zeros_like(shared), where=together > 0)
    return shares


def _judge_class(detections: Boxes, objects: Boxes, images: int) -> Judged:
    verdict = np.full(len(detections), FALSE, np.int64)
    truth = _rows_by_image(objects.image, images)
    for image, rows in enumerate(_rows_by_image(detections.image, images)):
        if len(rows) and len(truth[image]):
            there = truth[image]
            verdict[rows] = _verdicts(overlaps(detections.box[rows], objects.box[there]), objects.difficult[there])
    counted = np.bincount(objects.image[~objects.difficult], minlength=images)
    return Judged(detections.image, detections.score, verdict, counted.astype(np.int64))


def _verdicts(shared: Floats, difficult: NDArray[np.bool_]) -> Integers:
    """Of one image's detections, the surest first: `shared` (detections, objects) are their overlaps."""
    best = shared.argmax(1)
    meets = shared[np.arange(len(shared)), best] >= OVERLAP
    verdict = np.full(len(shared), FALSE, np.int64)
    found = np.zeros(shared.shape[1], np.bool_)
    for row in np.flatnonzero(meets):
        if difficult[best[row]]:
            verdict[row] = IGNORED
        elif not found[best[row]]:
            verdict[row] = FOUND
            found[best[row]] = True
    return verdict


def _rows_by_image(image: Integers, images: int) -> list[Integers]:
    """Of each image its rows, in their order."""
    order = np.argsort(image, kind="stable")
    ends = np.cumsum(np.bincount(image, minlength=images))
    return np.split(order, ends[:-1])


def _areas(boxes: Floats) -> Floats:
    areas: Floats = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return areas
