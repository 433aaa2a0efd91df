"""Images that look alike to a network: nearest neighbours, and how well a ranking gathers a class."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from worker.config.probe import RetrievalProtocol
from worker.evaluation.features import Features
from worker.evaluation.knn import cosine_blocks, votes
from worker.evaluation.score import Findings, Outcome, findings, mean_cell, outcome
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subject import Steps, Subject
from worker.evaluation.taps import tap_shapes
from worker.pictures.retrieval_grid import RetrievalRow, retrieval_grid
from worker.stages.randomness import numpy_generator

SHOWN = 8
"""Neighbours a row of the picture shows."""
THUMBNAIL = 96
_CELLS = 1 << 24
"""Similarities ranked at a time; ranking takes several times their memory."""


@dataclass(frozen=True)
class Retrieved:
    """What one tap's cosines told."""

    outcome: Outcome
    precision: NDArray[np.float64]
    """(n,): average precision of each query's ranking."""
    nearest: NDArray[np.int64]
    """(n, up to 8): rows of the split, the most similar first."""


def retrieval(protocol: RetrievalProtocol, subject: Subject, split: ProbeSplit) -> Findings:
    """Held-out images look for their like among the others; the picture shows some of the first tap's answers."""
    shapes = tap_shapes(subject.record.backbone, protocol.taps, subject.view.crop, protocol.max_dims)
    steps = Steps(subject.batches(split.images) + len(shapes), subject.context)
    network = subject.network()
    before = network.digest()
    features = subject.features(network, split.images, shapes, protocol.resize, steps)
    unchanged = network.digest() == before
    found: dict[str, Retrieved] = {}
    for tap in shapes:
        found[tap] = retrieved(features.pop(tap), split, protocol.neighbours)
        steps()
    told = findings({tap: tell.outcome for tap, tell in found.items()}, protocol.seeds, protocol.confidence)
    precision = {tap: mean_cell(tell.precision, protocol.confidence) for tap, tell in found.items()}
    chance = float(_shares(split)[split.labels[split.held_out]].mean())
    first = next(iter(found))
    return replace(
        told,
        further={"mAP": precision, **told.further},
        trunk_unchanged=unchanged,
        facts={**told.facts, "chance_mAP": chance, "neighbours": protocol.neighbours},
        pictures=_picture(protocol, subject, split, first, found[first]) if protocol.grid else {},
    )


def retrieved(features: Features, split: ProbeSplit, neighbours: int) -> Retrieved:
    """`features` in the order of the split's images."""
    labels = torch.from_numpy(split.labels).to(features.device)
    held = torch.from_numpy(np.flatnonzero(split.held_out))
    rest = torch.from_numpy(np.flatnonzero(~split.held_out))
    theirs, truth = labels[rest.to(features.device)], labels[held.to(features.device)]
    scores, precision, nearest = [], [], []
    done = 0
    for similarity in cosine_blocks(features, held, rest, _CELLS):
        wanted = truth[done : done + len(similarity)]
        scores.append(votes(similarity, theirs, neighbours, len(split.classes)))
        precision.append(average_precision(similarity, theirs == wanted[:, None]))
        nearest.append(similarity.topk(min(SHOWN, len(rest)), dim=1).indices)
        done += len(similarity)
    told = outcome([torch.cat(scores)], truth, dim=features.dim)
    return Retrieved(told, torch.cat(precision).cpu().numpy(), rest.numpy()[torch.cat(nearest).cpu().numpy()])


def average_precision(similarity: Tensor, relevant: Tensor) -> Tensor:
    """(m, n) similarities and which are wanted, bool (m, n) -> float64 (m,): area under precision by recall, in steps.

    Equally similar images count as found together, so that their order plays no part. Nothing wanted: 0.
    """
    ranked, order = similarity.sort(dim=1, descending=True, stable=True)
    hits = relevant.gather(1, order)
    ends = torch.arange(1, ranked.shape[1] + 1, device=ranked.device).expand_as(ranked)
    # The last place of each run of equal similarities: where it ends, else that of the next place.
    tied = torch.zeros_like(hits)
    tied[:, :-1] = ranked[:, :-1] == ranked[:, 1:]
    ends = ends.masked_fill(tied, ranked.shape[1]).flip(1).cummin(1).values.flip(1)
    found = hits.cumsum(1).gather(1, ends - 1)
    precision = found.double() / ends
    return (precision * hits).sum(1) / hits.sum(1).clamp_min(1)


def _shares(split: ProbeSplit) -> NDArray[np.float64]:
    """Of each class among the images that are found: the precision of a random order."""
    counts = np.bincount(split.labels[~split.held_out], minlength=len(split.classes))
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _picture(
    protocol: RetrievalProtocol, subject: Subject, split: ProbeSplit, tap: str, found: Retrieved
) -> dict[str, Image.Image]:
    store = subject.store
    held = np.flatnonzero(split.held_out)
    rows = [
        RetrievalRow(
            query=int(split.images[held[number]]),
            neighbours=split.images[found.nearest[number]],
            precision=float(found.precision[number]),
        )
        for number in shown_queries(split.labels[held], protocol.grid, protocol.seeds[0])
    ]
    title = (
        f"Nearest images by the cosine of {tap}: query, then its neighbours; green = same class\nap = average precision"
    )
    return {"retrieval.png": retrieval_grid(store, rows, title, THUMBNAIL)}


def shown_queries(labels: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """At most `count` positions drawn by seed, one of each class before any second, in the order of their classes."""
    order = numpy_generator(seed, "grid").permutation(len(labels))
    turn = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = np.arange(len(members))
    chosen = order[np.argsort(turn[order], kind="stable")][:count]
    return [int(position) for position in chosen[np.argsort(labels[chosen], kind="stable")]]
