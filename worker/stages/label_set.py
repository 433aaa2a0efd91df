"""A set of labels on disk, whoever made them: clustering, the user, the dataset."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from worker.clustering.balance import balance
from worker.config.pipeline import ArtifactKind
from worker.stages.contract import Produced

NONE = -1
"""An image without a label."""

SOFT_CLUSTERS, SOFT_SHARES = "soft_clusters.npy", "soft_shares.npy"
"""int32 and float32, `(count, m)` each: clusters an image belongs to, the nearest first, and to which share."""

Source = Literal["clustering", "import", "classes"]


def write_label_set(
    folder: Path,
    store: Path,
    labels: NDArray[np.int32],
    k: int,
    source: Source,
    distances: NDArray[np.float32] | None = None,
    **further: Any,  # noqa: ANN401 (JSON)
) -> Produced:
    """Labels of the images of `store`, `(count,)` in 0..k-1 or -1; `further` goes into labels.json alone."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "distances.npy", np.full(len(labels), np.nan, np.float32) if distances is None else distances)
    shutil.copyfile(store / "manifest.jsonl", folder / "manifest.jsonl")
    sizes = np.bincount(labels[labels != NONE], minlength=k)
    facts = {"k": k, "count": len(labels), "labelled": int(sizes.sum()), "source": source, **balance(sizes)}
    (folder / "labels.json").write_text(json.dumps({**facts, "sizes": sizes.tolist(), **further}, indent=2))
    return Produced(kind=ArtifactKind.pseudo_label_set, path=folder, summary=facts)
