"""The pseudo-labels as the student's training sees them: read, split, and ordered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.config.reasons import Reason
from worker.stages.contract import StageError
from worker.stages.label_set import SOFT_CLUSTERS, SOFT_SHARES
from worker.stages.task import Indices


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    values: NDArray[np.int64]
    """(count,): -1 = not trained on."""
    classes: int
    soft: "SoftLabels | None" = None
    holdout: float | None = None
    """Of the dataset's own labels: the share of images, by the md5 of their path, whose labels were kept back."""


@dataclass(frozen=True, slots=True)
class SoftLabels:
    clusters: NDArray[np.int64]
    """(count, m): the nearest first."""
    shares: NDArray[np.float32]
    """(count, m): of each row 1 in all."""


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of labelled images, ascending."""

    trained: Indices
    held_out: Indices


def read_labels(folder: Path, count: int) -> PseudoLabels:
    """The pseudo-labels of a store of `count` images; raises `StageError` with artifact_corrupt or bad_labels."""
    try:
        values = np.load(folder / "labels.npy")
        facts = json.loads((folder / "labels.json").read_text())
        classes = int(facts["k"])
    except (OSError, ValueError, KeyError) as error:
        raise StageError(Reason.artifact_corrupt, f"The pseudo-labels can't be read: {error}.") from error
    if values.shape != (count,):
        raise StageError(Reason.bad_labels, f"There are {values.size} pseudo-labels for {count} images.")
    if values.dtype.kind not in "iu" or values.min(initial=-1) < -1 or values.max(initial=-1) >= classes:
        raise StageError(Reason.bad_labels, f"Pseudo-labels must be whole numbers from -1 to {classes - 1}.")
    if len(np.unique(values[values >= 0])) < 2:
        raise StageError(Reason.bad_labels, "The pseudo-labels name fewer than two clusters: there is nothing to tell.")
    holdout = float(facts.get("holdout", 0)) if facts.get("source") == "classes" else None
    return PseudoLabels(values.astype(np.int64), classes, holdout=holdout)


def read_soft_labels(folder: Path, labels: PseudoLabels) -> PseudoLabels:
    """`labels` with the shares that were written beside them; raises `StageError(bad_config)` where there are none."""
    if not (folder / SOFT_SHARES).is_file():
        message = "`soft` needs labels with shares: let `label` look at several clusters (`nearest` above 1)."
        raise StageError(Reason.bad_config, message)
    try:
        clusters, shares = np.load(folder / SOFT_CLUSTERS), np.load(folder / SOFT_SHARES)
    except (OSError, ValueError) as error:
        raise StageError(Reason.artifact_corrupt, f"The soft labels can't be read: {error}.") from error
    if clusters.shape != shares.shape or len(clusters) != len(labels.values):
        raise StageError(Reason.artifact_corrupt, f"There are {len(clusters)} soft labels, shares {shares.shape}.")
    return replace(labels, soft=SoftLabels(clusters.astype(np.int64), shares))


def labelled_in_all(first: PseudoLabels, further: Sequence[PseudoLabels]) -> PseudoLabels:
    """The first labels, less those of images that some other set has no label for."""
    known = np.logical_and.reduce([labels.values >= 0 for labels in (first, *further)])
    return replace(first, values=np.where(known, first.values, -1))


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
