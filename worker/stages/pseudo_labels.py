"""The pseudo-labels as the student's training sees them: read, split, and ordered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.config.reasons import Reason
from worker.stages.contract import StageError
from worker.stages.task import Indices


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    values: NDArray[np.int64]
    """(count,): -1 = not trained on."""
    classes: int


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of labelled images, ascending."""

    trained: Indices
    held_out: Indices


def read_labels(folder: Path, count: int) -> PseudoLabels:
    """The pseudo-labels of a store of `count` images; raises `StageError` with artifact_corrupt or bad_labels."""
    try:
        values = np.load(folder / "labels.npy")
        classes = int(json.loads((folder / "labels.json").read_text())["k"])
    except (OSError, ValueError, KeyError) as error:
        raise StageError(Reason.artifact_corrupt, f"The pseudo-labels can't be read: {error}.") from error
    if values.shape != (count,):
        raise StageError(Reason.bad_labels, f"There are {values.size} pseudo-labels for {count} images.")
    if values.dtype.kind not in "iu" or values.min(initial=-1) < -1 or values.max(initial=-1) >= classes:
        raise StageError(Reason.bad_labels, f"Pseudo-labels must be whole numbers from -1 to {classes - 1}.")
    if len(np.unique(values[values >= 0])) < 2:
        raise StageError(Reason.bad_labels, "The pseudo-labels name fewer than two clusters: there is nothing to tell.")
    return PseudoLabels(values.astype(np.int64), classes)


def split_images(labels: PseudoLabels, paths: list[str], holdout: float, seed: int) -> Split:
    """Hold out the share `holdout` of the labelled images, by a hash of seed and path."""
    labelled = np.flatnonzero(labels.values >= 0)
    held = held_out([paths[index] for index in labelled], holdout, seed)
    return Split(trained=labelled[~held], held_out=labelled[held])


def held_out(paths: Sequence[str], holdout: float, seed: int) -> NDArray[np.bool_]:
    """Which of these images are held out: an image stays on its side when others come and go."""
    return np.array([_share(f"{seed}/{path}") < holdout for path in paths], dtype=np.bool_)


def balanced_order(images: Indices, labels: NDArray[np.int64], generator: np.random.Generator) -> Indices:
    """As many draws as there are images, the same number (to one) from every cluster that has any.

    A small cluster's images are repeated, a large one shows another part of its images in every epoch.
    """
    shuffled = generator.permutation(len(images))
    by_cluster = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, sizes = np.unique(labels, return_counts=True)
    each = -(-len(images) // len(sizes))
    firsts = np.cumsum(sizes) - sizes
    positions = firsts[:, None] + np.arange(each) % sizes[:, None]
    drawn: Indices = images[generator.permutation(by_cluster[positions].ravel())[: len(images)]]
    return drawn


def _share(text: str) -> float:
    """A number in 0..1 that the text alone decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") / 2**64
