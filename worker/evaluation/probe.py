"""Linear classifiers on frozen features, one a seed, trained side by side (SPEC 8.4)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.evaluation.features import Features, ResidentFeatures, StandardisedFeatures, in_chunks
from worker.stages.randomness import torch_generator

BATCH = 256
"""SPEC 8.4."""
LEAST_STEPS = 8
"""An epoch of fewer images than 8 batches is cut into about this many smaller ones (our choice)."""
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
BIAS_RATE = 2.0
"""Of the weights' rate; biases don't decay (SPEC 8.4)."""
_POWER_STEPS = 15
_POWER_ROWS = 4096
"""Rows that estimate the covariance; more don't change its largest eigenvalue by much."""


@dataclass(frozen=True)
class Probes:
    weight: Tensor
    """(seeds, classes, dim): products with rows of features are quickest in this order."""
    bias: Tensor
    """(seeds, 1, classes)"""

    def scores(self, features: Features, rows: Tensor) -> Tensor:
        """(seeds, len(rows), classes): the higher, the likelier."""
        seeds, by_column = len(self.weight), self.weight.transpose(1, 2)
        chunks = [torch.baddbmm(self.bias, x.expand(seeds, -1, -1), by_column) for x in in_chunks(features, rows)]
        return torch.cat(chunks, dim=1)


def standardised(features: Features, rows: Tensor) -> Features:
    """Every column less its mean, times 1 / its deviation, over `rows` (int64); constant columns become 0.

    It is a batch norm without affine, run with the statistics of the whole training set.
    """
    return StandardisedFeatures(features, *statistics(features, rows))


def standardised_in_place(features: Features, rows: Tensor) -> Features:
    """`standardised`, where nobody needs the features as they were: those in memory are changed."""
    if not isinstance(features, ResidentFeatures):
        return standardised(features, rows)
    mean, scale = statistics(features, rows)
    features.values.sub_(mean).mul_(scale)
    return features


def statistics(features: Features, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation (0 where constant) of every column over `rows`: float32, `(dim,)` each."""
    count = 0
    mean = torch.zeros(features.dim, dtype=torch.float64, device=features.device)
    squares = torch.zeros_like(mean)
    for chunk in in_chunks(features, rows):
        variance, centre = torch.var_mean(chunk, dim=0, correction=0)
        apart = centre.double() - mean
        total = count + len(chunk)
        # Chan, Golub and LeVeque (1979): sums of squares about the mean, merged part by part.
        squares += len(chunk) * variance.double() + apart.square() * (count * len(chunk) / total)
        mean += apart * (len(chunk) / total)
        count = total
    deviation = (squares / count).sqrt()
    alive = deviation > 1e-6 * deviation.max().clamp_min(torch.finfo(torch.float32).tiny)
    return mean.float(), torch.where(alive, 1 / deviation, 0.0).float()


def largest_eigenvalue(features: Features, rows: Tensor) -> float:
    """Of the covariance of standardised features, by power iteration from the vector of ones, over up to 4096 rows."""
    values = features.take(rows[:: math.ceil(len(rows) / _POWER_ROWS)])
    direction = torch.ones(features.dim, device=features.device) / math.sqrt(features.dim)
    # Ones are seldom orthogonal to the first component; a slight tilt makes sure.
    direction += torch.linspace(0, 1e-2, features.dim, device=features.device)
    length = torch.zeros(())
    for _ in range(_POWER_STEPS):
        direction = values.T @ (values @ direction) / len(values)
        length = direction.norm()
        direction /= length.clamp_min(torch.finfo(torch.float32).tiny)
    return float(length)


@torch.no_grad()
def train_probes(
    features: Features,
    rows: Tensor,
    labels: Tensor,
    classes: int,
    epochs: int,
    seeds: Sequence[int],
    after_epoch: Callable[[], None] = lambda: None,
) -> Probes:
    """Softmax regressions on the standardised `rows` (int64, CPU), of classes `labels` (int64, as many), one a seed.

    SGD with Nesterov momentum along a half cosine. The rate starts at 1 / (1 + largest eigenvalue of the covariance),
    half of what the softmax's curvature allows, so that features of any width and correlation train alike (our choice;
    SPEC 8.4 has 0.01 for one network). A seed draws the order of the images: the same seed gives the same probe,
    whichever others are trained beside it, up to rounding.
    """
    trainer = _Trainer(features, classes, len(seeds), 1 / (1 + largest_eigenvalue(features, rows)))
    count = len(rows)
    batch = min(BATCH, max(1, count // LEAST_STEPS))
    total = epochs * math.ceil(count / batch)
    labels = labels.cpu()
    step = 0
    for epoch in range(epochs):
        order = torch.stack([torch.randperm(count, generator=torch_generator(seed, "probe", epoch)) for seed in seeds])
        taught = rows[order].to(features.rows_on, non_blocking=True)
        truth = labels[order].to(features.device, non_blocking=True)
        for start in range(0, count, batch):
            part = slice(start, start + batch)
            trainer.step(taught[:, part], truth[:, part], (1 + math.cos(math.pi * step / total)) / 2)
            step += 1
        after_epoch()
    return Probes(trainer.weight, trainer.bias)


class _Trainer:
    """Stochastic gradient descent of several softmax regressions at once, by batched products."""

    def __init__(self, features: Features, classes: int, seeds: int, rate: float) -> None:
        self.weight = torch.zeros((seeds, classes, features.dim), device=features.device)
        self.bias = torch.zeros((seeds, 1, classes), device=features.device)
        self._momenta = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        self._features = features
        self._rate = rate

    def step(self, rows: Tensor, labels: Tensor, factor: float) -> None:
        """`rows`, `labels`: (seeds, batch)."""
        seeds, batch = rows.shape
        values = self._features.take(rows.flatten()).view(seeds, batch, -1)
        # The gradient of the mean cross-entropy by the scores is (softmax - truth) / batch.
        error = torch.baddbmm(self.bias, values, self.weight.transpose(1, 2)).softmax(2)
        error.scatter_add_(2, labels[..., None], error.new_full((1, 1, 1), -1.0).expand(seeds, batch, 1))
        error /= batch
        gradients = (
            torch.baddbmm(self.weight, error.transpose(1, 2), values, beta=WEIGHT_DECAY),
            error.sum(1, keepdim=True),
        )
        rates = (self._rate * factor, self._rate * factor * BIAS_RATE)
        learners = zip((self.weight, self.bias), gradients, self._momenta, rates, strict=True)
        for learnt, gradient, momentum, rate in learners:
            momentum.mul_(MOMENTUM).add_(gradient)
            learnt.add_(gradient, alpha=-rate).add_(momentum, alpha=-rate * MOMENTUM)
