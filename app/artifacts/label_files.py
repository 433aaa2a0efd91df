"""What a pseudo-label set says: of one cluster, or of all images as a table."""

import csv
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.artifacts.npy import read_float32, read_int32

ROWS = 65536


@dataclass(frozen=True)
class Member:
    index: int
    path: str
    distance: float | None


@dataclass(frozen=True)
class Members:
    size: int
    nearest: list[Member]
    farthest: list[Member]


class LabelFiles:
    """The directory of a `pseudo_label_set` artifact."""

    def __init__(self, folder: Path) -> None:
        self._manifest = folder / "manifest.jsonl"
        self._labels = read_int32(folder / "labels.npy")
        self._distances = read_float32(folder / "distances.npy")

    def members(self, cluster: int, count: int) -> Members:
        """Its size, the `count` images nearest to the centre (nearest first), the `count` farthest (farthest first)."""
        indices = [index for index, label in enumerate(self._labels) if label == cluster]
        ranked = sorted(indices, key=lambda index: (_rank(self._distances[index]), index))
        nearest, farthest = ranked[:count], ranked[::-1][:count]
        paths = self._paths({*nearest, *farthest})
        return Members(
            size=len(indices),
            nearest=[self._member(index, paths) for index in nearest],
            farthest=[self._member(index, paths) for index in farthest],
        )

    def write_csv(self, target: Path) -> None:
        """`path,label,distance`, a row per labelled image, in the order of the image store."""
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "label", "distance"))
            writer.writerows((path, label, "" if d is None else repr(d)) for path, label, d in self._rows())

    def write_parquet(self, target: Path) -> None:
        """The same columns: string, int32, float (null where there is none)."""
        # Not above: pyarrow loads numpy, which the web service does without until somebody wants this.
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.schema(
            [("path", pyarrow.string()), ("label", pyarrow.int32()), ("distance", pyarrow.float32())]
        )
        with pyarrow.parquet.ParquetWriter(target, schema, compression="zstd") as writer:
            rows = self._rows()
            while batch := list(islice(rows, ROWS)):
                columns = [list(column) for column in zip(*batch, strict=True)]
                writer.write_table(pyarrow.table(columns, schema=schema))

    def _rows(self) -> Iterator[tuple[str, int, float | None]]:
        with self._manifest.open(encoding="utf-8") as lines:
            for line, label, distance in zip(lines, self._labels, self._distances, strict=True):
                if label >= 0:
                    yield json.loads(line)["path"], label, _finite(distance)

    def _paths(self, wanted: Collection[int]) -> dict[int, str]:
        with self._manifest.open(encoding="utf-8") as lines:
            return {index: json.loads(line)["path"] for index, line in enumerate(lines) if index in wanted}

    def _member(self, index: int, paths: dict[int, str]) -> Member:
        return Member(index=index, path=paths[index], distance=_finite(self._distances[index]))


def _rank(distance: float) -> float:
    return math.inf if math.isnan(distance) else distance


def _finite(distance: float) -> float | None:
    return None if math.isnan(distance) else distance
