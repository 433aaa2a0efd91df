"""The feature set on disk: one row of values per image, read piece by piece as float32."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from worker.clustering.whitening import Whitening
from worker.config.reasons import Reason
from worker.stages.contract import StageError

FeatureType = Literal["fp16", "fp32"]
Pooling = Literal["max", "average"]

CHUNK_BYTES = 16 << 20
"""Float32 bytes of one piece: large enough for full speed, small enough to stay near the cache."""
RESIDENT_BYTES = 2 << 30
"""Points of at most this many float32 bytes are converted once and kept; others are converted in pieces, each time."""


class FeatureSpace(BaseModel):
    """What rows are: those of equal spaces can be compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tap: str
    """Of the network; `hog` where no network made the rows."""
    shape: tuple[int, int, int]
    """`(channels, height, width)`; a row is this map flattened channel by channel (C order)."""
    conv1_stride: int | None = None
    pooling: Pooling = "max"
    mirror: bool = False
    """A row is the mean of the image's and its mirror image's."""
    checkpoint: dict[str, Any]
    """What made the rows. A network: role, architecture, sha256 of its weights. Else `role` is that of `tap`, with all
    that the space depends on."""

    def space(self) -> "FeatureSpace":
        return FeatureSpace(**{name: getattr(self, name) for name in FeatureSpace.model_fields})


class FeatureFacts(FeatureSpace):
    """`features.json`: what the rows are, and which network and images they come from."""

    count: int
    dim: int
    dtype: FeatureType
    side: int
    crop: int
    store: str
    """Digest of the image store, so that features and images can't be mixed up."""


class FeatureSet:
    """A `count x dim` matrix in a memory map, with its facts.

    Raises `StageError(artifact_corrupt)` where the files are missing or disagree.
    """

    def __init__(self, matrix: NDArray[Any], facts: FeatureFacts) -> None:
        self.matrix = matrix
        self.facts = facts

    @classmethod
    def open(cls, folder: Path) -> Self:
        try:
            facts = FeatureFacts.model_validate(json.loads((folder / "features.json").read_text()))
            matrix = np.load(folder / "features.npy", mmap_mode="r")
        except (OSError, ValueError, ValidationError) as error:
            raise StageError(Reason.artifact_corrupt, f"The feature set can't be read: {error}") from error
        if matrix.shape != (facts.count, facts.dim):
            message = f"The features are {matrix.shape}, but features.json says ({facts.count}, {facts.dim})."
            raise StageError(Reason.artifact_corrupt, message)
        return cls(matrix, facts)

    def points(
        self,
        l2_normalise: bool,
        rows: NDArray[np.int64] | None = None,
        at_a_time: int = 1 << 62,
        whitening: Whitening | None = None,
    ) -> "Points":
        return Points(self.matrix, l2_normalise, rows, at_a_time, whitening)


class Points:
    """Rows of a matrix as float32 points, whitened and then put on the unit sphere where asked; above `RESIDENT_BYTES`
    never all in memory."""

    def __init__(
        self,
        matrix: NDArray[Any],
        l2_normalise: bool = False,
        rows: NDArray[np.int64] | None = None,
        at_a_time: int = 1 << 62,
        whitening: Whitening | None = None,
    ) -> None:
        """`rows` (sorted) limits the points to these; `at_a_time` bounds a piece below `CHUNK_BYTES`."""
        self._matrix = matrix
        self._l2_normalise = l2_normalise
        self._rows = rows
        self.count = len(matrix) if rows is None else len(rows)
        self._whitening = whitening
        self.dim = int(matrix.shape[1]) if whitening is None else whitening.components
        self._step = max(1, min(at_a_time, CHUNK_BYTES // (4 * int(matrix.shape[1]))))
        self._resident = self._loaded() if 4 * self.count * self.dim <= RESIDENT_BYTES else None

    def chunks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """All points in order: the slice of their positions, and the points `(m, dim)`."""
        for start in range(0, self.count, self._step):
            part = slice(start, min(start + self._step, self.count))
            yield part, self._read(part) if self._resident is None else self._resident[part]

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The points at these positions, in this order."""
        return self._read(positions) if self._resident is None else self._resident[positions]

    def _loaded(self) -> NDArray[np.float32]:
        points = np.empty((self.count, self.dim), np.float32)
        for start in range(0, self.count, self._step):
            part = slice(start, min(start + self._step, self.count))
            points[part] = self._read(part)
        return points

    def _read(self, positions: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        return self._converted(self._matrix[positions if self._rows is None else self._rows[positions]])

    def _converted(self, values: NDArray[Any]) -> NDArray[np.float32]:
        # Adding zero turns -0 into 0, so that equal points have equal bytes.
        points = values.astype(np.float32)
        points += np.float32(0)
        if self._whitening is not None:
            points = self._whitening.apply(points)
        if not self._l2_normalise:
            return points
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        result: NDArray[np.float32] = points / np.maximum(norms, np.finfo(np.float32).tiny)
        return result
