"""A linear classifier on frozen features (SPEC 8.4)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from worker.stages.randomness import torch_generator

BATCH = 256
"""SPEC 8.4."""
LEAST_STEPS = 8
"""An epoch of fewer images than 8 batches is cut into about this many smaller ones (our choice)."""
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
_POWER_STEPS = 15


def standardise(features: Tensor, train: Tensor) -> Tensor:
    """In place: every column of `features` (n, dim) less its mean, by its deviation, over the rows `train` (bool, n).

    It is a batch norm without affine, run with the statistics of the whole training set. Constant columns become 0.
    """
    deviation, mean = torch.std_mean(features[train], dim=0, correction=0)
    alive = deviation > 1e-6 * deviation.max().clamp_min(torch.finfo(torch.float32).tiny)
    features -= mean
    features *= torch.where(alive, 1 / deviation, 0.0)
    return features


def largest_eigenvalue(features: Tensor) -> float:
    """Of the covariance of standardised `features` (n, dim), by power iteration from the vector of ones."""
    direction = torch.ones(features.shape[1], device=features.device) / math.sqrt(features.shape[1])
    # Ones are seldom orthogonal to the first component; a slight tilt makes sure.
    direction += torch.linspace(0, 1e-2, len(direction), device=features.device)
    length = torch.zeros(())
    for _ in range(_POWER_STEPS):
        direction = features.T @ (features @ direction) / len(features)
        length = direction.norm()
        direction /= length.clamp_min(torch.finfo(torch.float32).tiny)
    return float(length)


def train_probe(features: Tensor, labels: Tensor, classes: int, epochs: int, seed: int) -> torch.nn.Linear:
    """Softmax regression on standardised `features` (n, dim), by SGD with Nesterov momentum along a half cosine.

    The rate starts at 1 / (1 + largest eigenvalue of the covariance), half of what the softmax's curvature allows, so
    that features of any width and correlation train alike (our choice; SPEC 8.4 has 0.01 for one network). `seed`
    draws the order of the images; the same seed gives the same probe.
    """
    probe = torch.nn.Linear(features.shape[1], classes, device=features.device)
    torch.nn.init.zeros_(probe.weight)
    torch.nn.init.zeros_(probe.bias)
    rate = 1 / (1 + largest_eigenvalue(features))
    optimizer = torch.optim.SGD(probe.parameters(), rate, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)
    batch = min(BATCH, max(1, len(features) // LEAST_STEPS))
    total = epochs * math.ceil(len(features) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / total)) / 2)
    for epoch in range(epochs):
        order = torch.randperm(len(features), generator=torch_generator(seed, "probe", epoch)).to(features.device)
        for rows in torch.split(order, batch):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(probe(features[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return probe


def probe_predictions(probe: torch.nn.Linear, features: Tensor) -> Tensor:
    """Class of each row, int64 (n,)."""
    with torch.inference_mode():
        logits: Tensor = probe(features)
    return logits.argmax(1)
