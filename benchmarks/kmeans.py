"""Seconds per k-means iteration beside faiss's own `Kmeans` at equal points, k and iterations; prints JSON.

`python -m benchmarks.kmeans --points 9500 --dim 2304 --k 300`; pin both to the same cores with OMP_NUM_THREADS. Ours
reads fp16 features from a memory map, as the cluster stage does; faiss is given the whole float32 matrix and all its
points. Each is run `--repeats` times in turn and the quickest of each counts, so that a busy machine favours neither.
Both end early once nothing changes, so the iterations really done divide the time.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from worker.clustering.features import Points
from worker.clustering.kmeans import kmeans
from worker.clustering.nearest import NearestCentre


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"points": 9500, "dim": 2304, "k": 300, "iterations": 10, "repeats": 3, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        np.save(path, _features(arguments.points, arguments.dim, arguments.seed))
        report = _compare(np.load(path, mmap_mode="r"), arguments)
    print(json.dumps(report, indent=2))


def _features(count: int, dim: int, seed: int) -> NDArray[np.float16]:
    """Overlapping groups of non-negative values, like max-pooled maps after ReLU."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(max(1, count // 50), dim)).astype(np.float32)
    values = middles[rng.integers(0, len(middles), count)] + 3 * rng.standard_normal((count, dim), np.float32)
    return np.maximum(values, 0).astype(np.float16)


def _compare(matrix: NDArray[Any], arguments: argparse.Namespace) -> dict[str, Any]:
    whole = matrix.astype(np.float32)
    runs: dict[str, list[dict[str, float]]] = {"passdown": [], "faiss": []}
    for repeat in range(arguments.repeats):
        runs["passdown"].append(_ours(matrix, arguments.k, arguments.iterations, arguments.seed + repeat))
        runs["faiss"].append(_faiss(whole, arguments.k, arguments.iterations, arguments.seed + repeat))
    best = {name: min(found["seconds_per_iteration"] for found in each) for name, each in runs.items()}
    return {
        **vars(arguments),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "runs": runs,
        "seconds_per_iteration": best,
        "ratio_to_faiss": best["passdown"] / best["faiss"],
        "inertia_ratio_to_faiss": _mean(runs["passdown"], "inertia") / _mean(runs["faiss"], "inertia"),
    }


def _mean(runs: list[dict[str, float]], key: str) -> float:
    return sum(found[key] for found in runs) / len(runs)


def _ours(matrix: NDArray[Any], k: int, iterations: int, seed: int) -> dict[str, float]:
    """The whole clustering over its iterations: choosing the first centres and refilling empty clusters included."""
    points, search = Points(matrix), NearestCentre(matrix.shape[1])
    started = time.perf_counter()
    found = kmeans(points, k, iterations, np.random.default_rng(seed), search, lambda iteration, inertia: None)
    seconds = time.perf_counter() - started
    return {"seconds_per_iteration": seconds / len(found.inertia_per_iteration), **_quality(matrix, found.centres)}


def _faiss(whole: NDArray[np.float32], k: int, iterations: int, seed: int) -> dict[str, float]:
    own = faiss.Kmeans(
        whole.shape[1],
        k,
        niter=iterations,
        seed=seed + 1,
        max_points_per_centroid=len(whole),
        min_points_per_centroid=1,
    )
    started = time.perf_counter()
    own.train(whole)
    seconds = time.perf_counter() - started
    return {"seconds_per_iteration": seconds / len(own.obj), **_quality(whole, own.centroids)}


def _quality(matrix: NDArray[Any], centres: NDArray[np.float32]) -> dict[str, float]:
    """Inertia and empty clusters of the final assignment, by the same search for both."""
    points, search = Points(matrix), NearestCentre(matrix.shape[1])
    search.place(centres)
    found = [search.find(chunk) for _, chunk in points.chunks()]
    occupied = np.unique(np.concatenate([labels for labels, _ in found]))
    inertia = sum(float(squared.sum(dtype=np.float64)) for _, squared in found)
    return {"inertia": inertia, "empty_clusters": len(centres) - len(occupied)}


if __name__ == "__main__":
    main()
