"""Which held-out images a tap's features tell right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.evaluation.features import Features
from worker.evaluation.interval import paired_difference, wilson
from worker.evaluation.knn import knn_predictions
from worker.evaluation.probe import standardised_in_place, train_probes
from worker.evaluation.record import LinearResult, TapDifference, TapResult
from worker.evaluation.split import ProbeSplit


@dataclass(frozen=True)
class Verdict:
    """Right (1) or wrong (0) for every held-out image."""

    knn: NDArray[np.float64]
    """(n,)"""
    linear: NDArray[np.float64]
    """(seeds, n)"""

    def result(self, shape: tuple[int, int, int], seeds: tuple[int, ...], confidence: float) -> TapResult:
        count = len(self.knn)
        linear = wilson(float(self.linear.mean()), count, confidence)
        per_seed = {str(seed): float(share) for seed, share in zip(seeds, self.linear.mean(axis=1), strict=True)}
        knn = wilson(float(self.knn.mean()), count, confidence)
        return TapResult(shape=shape, knn=knn, linear=LinearResult(**linear.model_dump(), per_seed=per_seed))

    def minus(self, other: "Verdict", confidence: float) -> TapDifference:
        linear = paired_difference(self.linear.mean(axis=0), other.linear.mean(axis=0), confidence)
        return TapDifference(knn=paired_difference(self.knn, other.knn, confidence), linear=linear)


@dataclass(frozen=True)
class Judge:
    """The same images, classes and probe settings for every network."""

    split: ProbeSplit
    neighbours: int
    epochs: int
    seeds: tuple[int, ...]

    def verdict(self, features: Features, after_step: Callable[[], None]) -> Verdict:
        """`features` in the order of the split's images; they may be changed. An epoch, or the kNN, is a step."""
        labels = torch.from_numpy(self.split.labels).to(features.device)
        held = torch.from_numpy(np.flatnonzero(self.split.held_out))
        rest = torch.from_numpy(np.flatnonzero(~self.split.held_out))
        classes, truth, taught = len(self.split.classes), labels[held], labels[rest]
        knn = knn_predictions(features, held, rest, taught, self.neighbours, classes)
        after_step()
        features = standardised_in_place(features, rest)
        probes = train_probes(features, rest, taught, classes, self.epochs, self.seeds, after_step)
        return Verdict(_right(knn, truth), _right(probes.scores(features, held).argmax(2), truth))


def _right(predictions: Tensor, truth: Tensor) -> NDArray[np.float64]:
    return (predictions == truth).double().cpu().numpy()
