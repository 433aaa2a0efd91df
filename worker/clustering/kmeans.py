"""Lloyd's k-means over points that need not fit into memory (SPEC section 4): faiss searches, we average.

faiss's own `Kmeans` wants all float32 points in memory, trains on a sample unless told otherwise, and may leave
clusters empty; this one reads the points piece by piece, takes them all, and ends with no cluster empty.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.clustering.features import Points
from worker.clustering.nearest import NearestCentre, assign
from worker.config.reasons import Reason
from worker.stages.contract import StageError

Centres = NDArray[np.float32]
OnIteration = Callable[[int, float], None]
"""Called after each iteration with its number (from 1) and its inertia; may raise to stop."""

_TRIES = 64
"""Candidates looked at in one cluster before the next is split."""
_REPAIRS = 100
"""Rounds of splitting at the end; each normally fills every empty cluster."""


@dataclass(frozen=True)
class Clustering:
    centres: Centres
    """`(k, dim)`; each is nearest to at least one point."""
    inertia: float
    """Sum of squared distances to the centres."""
    inertia_per_iteration: list[float]
    """Before each iteration's update of the centres."""
    empty_reseeded: int
    """Times an empty cluster was given half of a large one."""


@dataclass(frozen=True)
class _Sweep:
    labels: NDArray[np.int64]
    squared: NDArray[np.float32]
    sums: NDArray[np.float64]

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.bincount(self.labels, minlength=len(self.sums))


def kmeans(
    points: Points, k: int, iterations: int, rng: np.random.Generator, search: NearestCentre, on_iteration: OnIteration
) -> Clustering:
    """At most `iterations` rounds from `k` random distinct points; ends early once no point changes its cluster.

    The same generator state gives bit-equal centres. Raises `StageError(k_too_large)` where fewer points differ.
    """
    centres = distinct_points(points, k, rng)
    history: list[float] = []
    reseeded = 0
    labels = None
    for iteration in range(1, iterations + 1):
        sweep = _sweep(points, centres, search)
        history.append(float(sweep.squared.sum(dtype=np.float64)))
        on_iteration(iteration, history[-1])
        if labels is not None and np.array_equal(labels, sweep.labels):
            break
        labels = sweep.labels
        centres = _means(sweep, centres)
        centres, split = split_largest(points, centres, labels, sweep.squared, rng)
        reseeded += split
    centres, inertia, split = _without_empty(points, centres, search, rng)
    return Clustering(centres, inertia, history, reseeded + split)


def distinct_points(points: Points, k: int, rng: np.random.Generator) -> Centres:
    """`k` random points, no two alike: two equal centres would leave one cluster empty."""
    order = rng.permutation(points.count)
    seen: set[bytes] = set()
    chosen: list[int] = []
    for start in range(0, points.count, k):
        block = order[start : start + k]
        for position, point in zip(block, points.take(block), strict=True):
            if (key := _key(point)) not in seen and len(chosen) < k:
                seen.add(key)
                chosen.append(position)
        if len(chosen) == k:
            return points.take(np.array(chosen))
    message = (
        f"k = {k}, but only {len(chosen)} of the {points.count} images differ in their features: choose a lower k."
    )
    raise StageError(Reason.k_too_large, message)


def _key(point: NDArray[np.float32]) -> bytes:
    return hashlib.blake2b(point.tobytes(), digest_size=16).digest()


def _sweep(points: Points, centres: Centres, search: NearestCentre) -> _Sweep:
    search.place(centres)
    labels = np.empty(points.count, np.int64)
    squared = np.empty(points.count, np.float32)
    sums = np.zeros(centres.shape, np.float64)
    for part, chunk in points.chunks():
        labels[part], squared[part] = search.find(chunk)
        _add_sums(sums, chunk, labels[part])
    return _Sweep(labels, squared, sums)


def _add_sums(sums: NDArray[np.float64], chunk: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    for label, members in zip(present, np.split(order, starts[1:]), strict=True):
        sums[label] += chunk[members].sum(axis=0, dtype=np.float64)


def _means(sweep: _Sweep, centres: Centres) -> Centres:
    counts = sweep.counts[:, None]
    return np.where(counts > 0, sweep.sums / np.maximum(counts, 1), centres).astype(np.float32)


def split_largest(
    points: Points,
    centres: Centres,
    labels: NDArray[np.int64],
    squared: NDArray[np.float32],
    rng: np.random.Generator,
) -> tuple[Centres, int]:
    """Moves the centre of each empty cluster onto a random member of the then largest one, away from its centre.

    Returns the centres and how many were moved (fewer than there are empty clusters where no member is left to take).
    """
    sizes = np.bincount(labels, minlength=len(centres)).astype(float)
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return centres, 0
    taken = {_key(centre) for centre in np.delete(centres, empty, axis=0)}
    centres = centres.copy()
    for moved, cluster in enumerate(empty):
        member = _member_of_largest(points, sizes, labels, squared, taken, rng)
        if member is None:
            return centres, moved
        centres[cluster] = member
    return centres, len(empty)


def _member_of_largest(
    points: Points,
    sizes: NDArray[np.float64],
    labels: NDArray[np.int64],
    squared: NDArray[np.float32],
    taken: set[bytes],
    rng: np.random.Generator,
) -> NDArray[np.float32] | None:
    """A point of the largest cluster that has one to give; `sizes` and `taken` are kept up to date."""
    while sizes.any():
        donor = int(sizes.argmax())
        member = _free_member(points, np.flatnonzero((labels == donor) & (squared > 0)), taken, rng)
        if member is not None:
            sizes[donor] /= 2
            return member
        sizes[donor] = 0
    return None


def _free_member(
    points: Points, members: NDArray[np.int64], taken: set[bytes], rng: np.random.Generator
) -> NDArray[np.float32] | None:
    for position in rng.permutation(members)[:_TRIES]:
        point: NDArray[np.float32] = points.take(np.array([position]))[0]
        if (key := _key(point)) not in taken:
            taken.add(key)
            return point
    return None


def _without_empty(
    points: Points, centres: Centres, search: NearestCentre, rng: np.random.Generator
) -> tuple[Centres, float, int]:
    """Splits until every centre is the nearest of some point.

    A centre moved onto a point keeps that point, and an empty cluster's centre is missed by nobody, so each round
    fills the clusters that it moves; only points that float32 can hardly tell apart may need further rounds.
    """
    moved_in_all = 0
    for _ in range(_REPAIRS):
        labels, squared = assign(points, centres, search)
        occupied = len(np.unique(labels))
        if occupied == len(centres):
            return centres, float(squared.sum(dtype=np.float64)), moved_in_all
        centres, moved = split_largest(points, centres, labels, squared, rng)
        moved_in_all += moved
    message = (
        f"k = {len(centres)}, but the images' features differ enough for {occupied} clusters only: choose a lower k."
    )
    raise StageError(Reason.k_too_large, message)
