"""Which held-out images a tap's features tell right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.evaluation.interval import paired_difference, wilson
from worker.evaluation.knn import knn_predictions
from worker.evaluation.probe import probe_predictions, standardise, train_probe
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

    def verdict(self, features: Tensor, after_step: Callable[[], None]) -> Verdict:
        """`features` (n, dim), float32, in the order of the split's images; they are changed."""
        labels = torch.from_numpy(self.split.labels).to(features.device)
        held = torch.from_numpy(self.split.held_out).to(features.device)
        classes, truth = len(self.split.classes), labels[held]
        knn = knn_predictions(features[~held], labels[~held], features[held], self.neighbours, classes)
        after_step()
        features = standardise(features, ~held)
        train, judged = features[~held], features[held]
        linear = []
        for seed in self.seeds:
            probe = train_probe(train, labels[~held], classes, self.epochs, seed)
            linear.append(_right(probe_predictions(probe, judged), truth))
            after_step()
        return Verdict(_right(knn, truth), np.stack(linear))


def _right(predictions: Tensor, truth: Tensor) -> NDArray[np.float64]:
    return (predictions == truth).double().cpu().numpy()
