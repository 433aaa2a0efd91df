"""Weighted nearest neighbours (Wu et al. 2018): what features tell without any training."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from worker.evaluation.features import Features, in_chunks

TEMPERATURE = 0.07
"""Of the votes' weights exp(cosine / temperature), as Wu et al. use it."""
_CELLS = 1 << 26
"""Similarities held in memory at a time: the more, the seldomer features in files are read."""


def knn_predictions(
    features: Features, queries: Tensor, gallery: Tensor, labels: Tensor, neighbours: int, classes: int
) -> Tensor:
    """Class of each query, int64 (m,) on the features' device: the `neighbours` most similar rows of the gallery vote.

    `queries` and `gallery` are rows of `features`, `labels` (int64, on their device) the classes of the gallery.
    Similarity is the cosine; a vote weighs exp(cosine / 0.07). Fewer rows than neighbours: all vote.
    """
    blocks = cosine_blocks(features, queries, gallery, _CELLS)
    return torch.cat([votes(similarity, labels, neighbours, classes).argmax(1) for similarity in blocks])


def cosine_blocks(features: Features, queries: Tensor, gallery: Tensor, cells: int) -> Iterator[Tensor]:
    """Cosines of the queries, some at a time and in order, with all of the gallery: (q, len(gallery)) each.

    A block has at most `cells` values, or one query.
    """
    for part in torch.split(queries, max(1, cells // len(gallery))):
        wanted = functional.normalize(features.take(part), dim=1)
        rows = [wanted @ functional.normalize(chunk, dim=1).T for chunk in in_chunks(features, gallery)]
        yield torch.cat(rows, dim=1)


def votes(similarity: Tensor, labels: Tensor, neighbours: int, classes: int) -> Tensor:
    """(m, n) cosines with rows of classes `labels` (n,) -> (m, classes), what the nearest weigh for each class."""
    nearest, index = similarity.topk(min(neighbours, similarity.shape[1]), dim=1)
    found = torch.zeros(len(similarity), classes, device=similarity.device)
    # Less the largest of the row: the exponential stays in range and the winner stays the same.
    weights = ((nearest - nearest[:, :1]) / TEMPERATURE).exp()
    # One neighbour at a time: sums of floats in one order, on a GPU too.
    for vote in range(weights.shape[1]):
        found.scatter_add_(1, labels[index[:, vote : vote + 1]], weights[:, vote : vote + 1])
    return found
