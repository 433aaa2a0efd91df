"""Intersection over union of class maps, from confusion matrices (SPEC 8.3; as PASCAL VOC and FCN measure it).

A confusion matrix counts pixels: rows are the truth, columns what was said. Matrices add up, so one an image is kept,
and the number for any set of images follows from their sum.
"""

import torch
from torch import Tensor

VOID = 255


def confusion_matrix(said: Tensor, truth: Tensor, classes: int) -> Tensor:
    """int64 (classes, classes) on the maps' device, without waiting for it; void pixels of `truth` don't count.

    `said` and `truth` are integers of the same shape: 0 .. classes - 1, `truth` also 255 for void.
    """
    void = classes * classes
    cell = torch.where(truth == VOID, void, truth.long() * classes + said.long()).flatten()
    counts = torch.zeros(void + 1, dtype=torch.int64, device=cell.device)
    counts.scatter_add_(0, cell, torch.ones_like(cell))
    return counts[:void].view(classes, classes)


def class_iou(confusion: Tensor) -> Tensor:
    """(..., C, C) -> float64 (..., C): right pixels over those that are, or are called, the class; NaN for no pixel."""
    counts = confusion.double()
    right = counts.diagonal(dim1=-2, dim2=-1)
    return right / (counts.sum(-1) + counts.sum(-2) - right)


def mean_iou(confusion: Tensor) -> Tensor:
    """(..., C, C) -> float64 (...): mean over the classes that any pixel is, or is called."""
    return class_iou(confusion).nanmean(-1)


def pixel_accuracy(confusion: Tensor) -> Tensor:
    """(..., C, C) -> float64 (...): share of right pixels; NaN for no pixel."""
    counts = confusion.double()
    return counts.diagonal(dim1=-2, dim2=-1).sum(-1) / counts.sum((-2, -1))


def mean_accuracy(confusion: Tensor) -> Tensor:
    """(..., C, C) -> float64 (...): mean over the classes that any pixel is of the share of their right pixels."""
    counts = confusion.double()
    return (counts.diagonal(dim1=-2, dim2=-1) / counts.sum(-1)).nanmean(-1)
