"""What k-means makes of a network's features: do the clusters follow the labels, do they come again, are they even?"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from worker.clustering.balance import balance
from worker.clustering.features import Points
from worker.clustering.kmeans import kmeans
from worker.clustering.nearest import NearestCentre, assign
from worker.config.probe import ClusterProtocol
from worker.config.scores import Cell
from worker.evaluation.agreement import Agreement
from worker.evaluation.interval import quantile
from worker.evaluation.score import Findings
from worker.evaluation.subject import Steps, Subject
from worker.evaluation.taps import Shape, tap_shapes
from worker.stages.extract import ALEXNET_POOL, VGG_POOL
from worker.stages.randomness import numpy_generator

REDRAWN = 200
"""Samples of the bootstrap."""
Statistic = Callable[[Agreement], float]
Labels = NDArray[np.int64]

AGAINST_LABELS: dict[str, Statistic] = {
    "NMI": Agreement.normalised_mutual_information,
    "ARI": Agreement.adjusted_rand,
    "purity": Agreement.purity,
    "entropy": lambda table: float(balance(table.sizes[0])["entropy_normalised"]),
    "empty share": lambda table: float((table.sizes[0] == 0).mean()),
    "tiny share": lambda table: float(balance(table.sizes[0])["tiny_share"]),
    "giant share": lambda table: float(balance(table.sizes[0])["giant_share"]),
}
"""Of clusters (first) and labels (second). Entropy is over ln k; giant clusters' share is of the images."""


def cluster_quality(protocol: ClusterProtocol, subject: Subject, images: Labels) -> Findings:
    """Clusters these images once a seed, as the cluster stage would; `k` is resolved before.

    Raises `StageError(k_too_large)` where fewer images differ.
    """
    shape = _pooled_shape(protocol, subject)
    seeds = protocol.seeds
    steps = Steps(subject.batches(images) + len(seeds) * protocol.iterations, subject.context)
    network = subject.network()
    before = network.digest()
    features = subject.features(network, images, {protocol.tap: shape}, "max", steps)[protocol.tap]
    points = Points(features.matrix(), protocol.l2_normalise)
    unchanged = network.digest() == before
    search = NearestCentre(points.dim, subject.context.device)
    made = [_clusters(protocol, points, seed, search, steps) for seed in seeds]
    clusters = [labels for labels, _ in made]
    _, labels = np.unique(subject.store.labels[images], return_inverse=True)
    cells = {metric: {protocol.tap: cell} for metric, cell in cells_of(clusters, labels, protocol).items()}
    facts = {
        "k": protocol.k,
        "shape": list(shape),
        "engine": search.engine,
        "empty_reseeded": {str(seed): reseeded for seed, (_, reseeded) in zip(seeds, made, strict=True)},
        "chance": _chance(clusters, labels),
    }
    return Findings("NMI", cells.pop("NMI"), cells, trunk_unchanged=unchanged, facts=facts)


def _pooled_shape(protocol: ClusterProtocol, subject: Subject) -> Shape:
    backbone = subject.record.backbone
    channels, side, _ = tap_shapes(backbone, [protocol.tap], subject.view.crop, 1 << 62)[protocol.tap]
    pool = min(side, ALEXNET_POOL if backbone.is_alexnet else VGG_POOL)
    return channels, pool, pool


def _clusters(
    protocol: ClusterProtocol, points: Points, seed: int, search: NearestCentre, steps: Steps
) -> tuple[Labels, int]:
    """The cluster of each point, and how often one fell empty on the way: the last ones never are."""
    rng = numpy_generator(seed, "k-means")
    k = int(protocol.k)
    found = kmeans(points, k, protocol.iterations, rng, search, lambda iteration, inertia: steps())
    return assign(points, found.centres, search)[0], found.empty_reseeded


def cells_of(clusters: Sequence[Labels], labels: Labels, protocol: ClusterProtocol) -> dict[str, Cell]:
    """Metric -> cell. `clusters` holds the clusters of the same images for each seed, `(n,)` each."""
    tables = [Agreement.of(found, labels) for found in clusters]
    cells = {
        metric: statistic_cell(tables, statistic, protocol.seeds, protocol.confidence)
        for metric, statistic in AGAINST_LABELS.items()
    }
    pairs = [Agreement.of(one, other) for one, other in combinations(clusters, 2)]
    if pairs:
        cells["ARI between seeds"] = statistic_cell(pairs, Agreement.adjusted_rand, (), protocol.confidence)
    return cells


def statistic_cell(tables: Sequence[Agreement], statistic: Statistic, seeds: Sequence[int], confidence: float) -> Cell:
    """Mean of a statistic over the tables; its interval is as wide as the statistic varies over redrawn images."""
    values = [statistic(table) for table in tables]
    rng = numpy_generator(0, "bootstrap")
    deviations = [np.std([statistic(table.resampled(rng)) for _ in range(REDRAWN)]) for table in tables]
    centre, half = float(np.mean(values)), quantile(confidence) * float(np.mean(deviations))
    return Cell(
        value=centre,
        low=centre - half,
        high=min(1.0, centre + half),
        interval="bootstrap over images (normal)",
        n=int(tables[0].counts.sum()),
        per_seed={str(seed): value for seed, value in zip(seeds, values, strict=True)} if seeds else {},
    )


def _chance(clusters: Sequence[Labels], labels: Labels) -> dict[str, float]:
    """What the same clusters would score if they knew nothing: agreement grows with k, not with insight alone."""
    shuffled = numpy_generator(0, "shuffled labels").permutation(labels)
    tables = [Agreement.of(found, shuffled) for found in clusters]
    return {
        "NMI": float(np.mean([table.normalised_mutual_information() for table in tables])),
        "purity": float(np.mean([table.purity() for table in tables])),
    }
