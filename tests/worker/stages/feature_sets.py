"""Small feature sets and stores for the tests."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.clustering.features import FeatureFacts
from worker.data.store import ImageStore, write_store


def small_store(path: Path, count: int, side: int = 8, labels: list[str | None] | None = None) -> ImageStore:
    images = np.random.default_rng(count).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    write_store(path, images, [f"{index:05}.png" for index in range(count)], labels or [None] * count)
    return ImageStore.open(path)


def write_features(path: Path, values: NDArray[Any], store: str = "store", **facts: object) -> Path:
    path.mkdir(parents=True)
    np.save(path / "features.npy", values)
    known: dict[str, object] = {
        "count": len(values),
        "dim": values.shape[1],
        "tap": "conv4",
        "shape": (values.shape[1], 1, 1),
        "dtype": "fp16" if values.dtype == np.float16 else "fp32",
        "side": 8,
        "crop": 8,
        "store": store,
        "checkpoint": {"role": "teacher"},
    }
    (path / "features.json").write_text(FeatureFacts(**{**known, **facts}).model_dump_json())
    return path
