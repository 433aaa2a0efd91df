"""Which boxes of an image a Fast R-CNN learns from (Girshick 2015, section 2.3; SPEC 8.2)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torchvision.ops import box_iou

from worker.evaluation.detectors.boxes import encode

FOREGROUND_SHARE = 0.25
FOREGROUND_OVERLAP = 0.5
BACKGROUND_OVERLAP = 0.1
"""Boxes that overlap an object by this much, but not by `FOREGROUND_OVERLAP`, are the background to learn from."""


@dataclass(frozen=True)
class Candidates:
    """All boxes of one image, its objects' own first; indices of the three kinds that are sampled from."""

    boxes: Tensor
    """float32 (n, 4), pixels of the original image."""
    labels: Tensor
    """int64 (n,): 1 + class of the object that is overlapped most, 0 where that is too little: background."""
    targets: Tensor
    """float32 (n, 4): normalised shifts to that object; 0 for background."""
    foreground: Tensor
    background: Tensor
    far: Tensor
    """Background that hardly touches an object: taken only where there is too little of the other."""


def candidates(proposals: Tensor, boxes: Tensor, classes: Tensor, difficult: Tensor) -> Candidates:
    """From an image's `proposals` (p, 4) and its objects: `boxes` (m, 4), `classes` int64 (m,), `difficult` bool (m,).

    At least one object isn't difficult. Proposals over a difficult object are neither foreground nor background: nobody
    can be asked to find it, nor to take it for background (our choice).
    """
    easy, truth = boxes[~difficult], classes[~difficult]
    everything = torch.cat([easy, proposals])
    overlap, best = box_iou(everything, easy).max(1)
    is_foreground = overlap >= FOREGROUND_OVERLAP
    doubtful = (box_iou(everything, boxes[difficult]) >= FOREGROUND_OVERLAP).any(1) & ~is_foreground
    is_near = (overlap >= BACKGROUND_OVERLAP) & ~is_foreground & ~doubtful
    is_far = (overlap < BACKGROUND_OVERLAP) & ~doubtful
    targets = torch.where(is_foreground[:, None], encode(everything, easy[best]), 0.0)
    labels = torch.where(is_foreground, truth[best] + 1, 0)
    kinds = [mask.nonzero().flatten() for mask in (is_foreground, is_near, is_far)]
    return Candidates(everything, labels, targets, *kinds)


def sample(found: Candidates, count: int, generator: Generator) -> Tensor:
    """`count` indices of candidates, int64: at most a quarter foreground, the rest background.

    Where there are too few different ones, background is repeated (or foreground, in an image without any background),
    so that every image brings the same number.
    """
    objects = _some(found.foreground, round(count * FOREGROUND_SHARE), generator)
    rest = count - len(objects)
    near = _some(found.background, rest, generator)
    background = torch.cat([near, _some(found.far, rest - len(near), generator)])
    if len(background) == 0:
        background = objects
    return torch.cat([objects, background[torch.arange(rest) % len(background)]])


def _some(indices: Tensor, count: int, generator: Generator) -> Tensor:
    """At most `count` of them, drawn without repetition."""
    return indices[torch.randperm(len(indices), generator=generator)[:count]]
