"""Weighted nearest neighbours (Wu et al. 2018): what features tell without any training."""

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 0.07
"""Of the votes' weights exp(cosine / temperature), as Wu et al. use it."""
_CELLS = 1 << 25
"""Similarities held in memory at a time."""


def knn_predictions(train: Tensor, labels: Tensor, queries: Tensor, neighbours: int, classes: int) -> Tensor:
    """Class of each query, int64 (m,): the `neighbours` most similar rows of `train` (n, dim) vote.

    Similarity is the cosine; a vote weighs exp(cosine / 0.07). Fewer training rows than neighbours: all vote.
    """
    train = functional.normalize(train, dim=1)
    neighbours = min(neighbours, len(train))
    return torch.cat(
        [
            _votes(functional.normalize(part, dim=1) @ train.T, labels, neighbours, classes).argmax(1)
            for part in torch.split(queries, max(1, _CELLS // len(train)))
        ]
    )


def _votes(similarity: Tensor, labels: Tensor, neighbours: int, classes: int) -> Tensor:
    nearest, index = similarity.topk(neighbours, dim=1)
    votes = torch.zeros(len(similarity), classes, device=similarity.device)
    # Less the largest of the row: the exponential stays in range and the winner stays the same.
    weights = ((nearest - nearest[:, :1]) / TEMPERATURE).exp()
    return votes.scatter_add_(1, labels[index], weights)
