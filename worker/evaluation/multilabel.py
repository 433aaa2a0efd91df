"""Images that show several classes at once: what is asked of them, and how good an answer is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.config.reasons import Reason
from worker.config.scores import Cell
from worker.data.annotated import AnnotatedStore
from worker.evaluation.average_precision import ApRule, weighted_average_precision
from worker.evaluation.bootstrap import WORDS, percentile_interval
from worker.stages.contract import StageError


@dataclass(frozen=True)
class Marks:
    """Of every image and class, bool (images, classes)."""

    shown: Tensor
    """The image has an object of the class that isn't difficult."""
    ignored: Tensor
    """It has difficult objects of the class only: nobody learns from it, nobody is judged on it."""

    def to(self, device: torch.device) -> "Marks":
        return Marks(self.shown.to(device), self.ignored.to(device))

    def at(self, images: Tensor) -> "Marks":
        """Of the images at these rows, int64 (n,) on any device."""
        rows = images.to(self.shown.device, non_blocking=True)
        return Marks(self.shown[rows], self.ignored[rows])


@dataclass(frozen=True)
class Judgement:
    """Scores of the same images by networks of several seeds, and what there was to find."""

    scores: Sequence[Tensor]
    """A seed each: (images, classes), the higher the surer."""
    marks: Marks
    classes: Sequence[str]
    seeds: Sequence[int]
    confidence: float
    weights: Tensor
    """(resamples, images): how often a bootstrap's sample holds each image."""

    def cells(self, rule: ApRule) -> tuple[Cell, dict[str, Cell]]:
        """The mean over the classes that have something to find, and each of those classes."""
        everything = torch.ones(1, len(self.marks.shown), device=self.weights.device)
        points = torch.cat([class_precisions(scores, self.marks, everything, rule) for scores in self.scores])
        drawn = [class_precisions(scores, self.marks, self.weights, rule) for scores in self.scores]
        resampled = torch.stack(drawn).mean(0)
        found = (~points.isnan()).all(0).tolist()
        each = {
            name: self._cell(points[:, place], resampled[:, place])
            for place, name in enumerate(self.classes)
            if found[place]
        }
        return self._cell(points.nanmean(1), resampled.nanmean(1)), each

    def _cell(self, points: Tensor, resampled: Tensor) -> Cell:
        """Of values (seeds,) and (resamples,)."""
        low, high = percentile_interval(resampled, self.confidence, around=float(points.mean()))
        per_seed = {str(seed): value for seed, value in zip(self.seeds, points.tolist(), strict=True)}
        count = len(self.marks.shown)
        return Cell(value=float(points.mean()), low=low, high=high, interval=WORDS, n=count, per_seed=per_seed)


def read_marks(store: AnnotatedStore, images: Sequence[int], classes: Sequence[str]) -> Marks:
    """What the objects of `images` say of `classes`; objects of other classes say nothing.

    Raises `StageError(bad_labels)` where no image shows any: then there is nothing to learn or to find.
    """
    position = {name: place for place, name in enumerate(classes)}
    plain = torch.zeros(len(images), len(classes), dtype=torch.bool)
    difficult = plain.clone()
    for row, image in enumerate(images):
        for annotation in store.objects(image):
            if annotation.name in position:
                (difficult if annotation.difficult else plain)[row, position[annotation.name]] = True
    if not plain.any():
        message = f"None of {len(images)} images, {store.id(images[0])} the first, shows an object of the asked classes"
        raise StageError(Reason.bad_labels, f"{message} that isn't difficult: {', '.join(classes)}.")
    return Marks(plain, difficult & ~plain)


def class_precisions(scores: Tensor, marks: Marks, weights: Tensor, rule: ApRule) -> Tensor:
    """Average precision of every sample and class, float64 (samples, classes); NaN where nothing is to be found.

    `scores` (images, classes), `weights` (samples, images), all on one device.
    """
    return torch.stack(
        [
            weighted_average_precision(scores[:, place], marks.shown[:, place], weights, rule, marks.ignored[:, place])
            for place in range(scores.shape[1])
        ],
        dim=1,
    )


def label_rankings(scores: Tensor, marks: Marks) -> Tensor:
    """Label ranking average precision of every image, float64 (images,), 0..1: how far its classes lie before others.

    For each class shown: the share of shown ones among all (but ignored) classes of no lower score; their mean. 1 for
    an image that shows none. It makes two networks comparable image by image, which average precision over images
    does not.
    """
    # (images, class, other class)
    ahead = (scores[:, None, :] >= scores[:, :, None]) & ~marks.ignored[:, None, :]
    right = (ahead & marks.shown[:, None, :]).sum(2).double() / ahead.sum(2).clamp_min(1)
    shown = marks.shown.sum(1)
    mean = (right * marks.shown).sum(1) / shown.clamp_min(1)
    return torch.where(shown > 0, mean, 1.0)
