"""The image store: every image decoded once into one packed, memory-mapped file of equal squares.

`images.u8` holds `count x side x side x 3` bytes (RGB, row-major), `manifest.jsonl` a line an image in the same order,
`problems.jsonl` a line a file that was left out, `store.json` the facts.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from worker.config.reasons import Reason
from worker.stages.contract import StageError

CHANNELS = 3
ProblemReason = Literal["undecodable", "too_many_pixels", "unsupported", "duplicate", "unreadable"]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A line of the manifest, less its index."""

    path: str
    """Below the source, with `/`."""
    sha256: str
    """Of the file's bytes."""
    bytes: int
    width: int
    """Pixels of the original, upright."""
    height: int
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not in the store, and why."""

    path: str
    reason: ProblemReason
    detail: str


@dataclass(frozen=True, slots=True)
class ImageStore:
    """A finished store, opened for reading. `images` is mapped, so opening costs no pixels."""

    path: Path
    count: int
    side: int
    classes: list[str]
    """Sorted names; empty without labels."""
    labels: NDArray[np.int64]
    """(count,), index into `classes`; -1 = none."""
    paths: list[str]
    images: NDArray[np.uint8]
    """(count, side, side, 3), RGB, read-only."""
    digest: str
    """Of side, paths, files and labels."""
    photographs: str
    """Of the files alone: `photographs_digest`."""
    resident: dict[tuple[int, str], Any] = field(default_factory=dict, compare=False, repr=False)
    """The images on a device, by side and device: `worker.data.resident`."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises `StageError(artifact_corrupt)` where the directory is no whole store."""
        try:
            facts = json.loads((path / "store.json").read_text())
            count, side, classes = int(facts["count"]), int(facts["side"]), list(facts["classes"])
            manifest = list(read_manifest(path))
            images = _map_images(path / "images.u8", count, side)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StageError(Reason.artifact_corrupt, f"The image store can't be read: {error}.") from error
        if len(manifest) != count:
            raise StageError(
                Reason.artifact_corrupt, f"The image store lists {len(manifest)} images but says it holds {count}."
            )
        position = {name: index for index, name in enumerate(classes)}
        labels = np.array([position.get(line["label"], -1) for line in manifest], dtype=np.int64)
        paths = [str(line["path"]) for line in manifest]
        # Stores of earlier versions don't say it.
        photographs = facts.get("photographs") or photographs_digest(str(line["sha256"]) for line in manifest)
        return cls(path, count, side, classes, labels, paths, images, str(facts["digest"]), photographs)


def read_manifest(path: Path) -> Iterator[dict[str, Any]]:
    """The manifest of the store at `path`, image by image: `index, path, sha256, bytes, width, height, label`."""
    with (path / "manifest.jsonl").open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def photographs_digest(files: Iterable[str]) -> str:
    """Of the photographs whose `files` have these sha256, at any side, with any labels, at any paths, in any order.

    A store that holds only some of the photographs of another, or one more, has another digest: how far two stores
    overlap can't be told from it.
    """
    return hashlib.sha256("".join(f"{sha256}\n" for sha256 in sorted(files)).encode()).hexdigest()


def _map_images(path: Path, count: int, side: int) -> NDArray[np.uint8]:
    shape = (count, side, side, CHANNELS)
    if path.stat().st_size != int(np.prod(shape)):
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, not those of {count} squares of {side} pixels")
    if count == 0:
        return np.zeros(shape, np.uint8)
    return np.memmap(path, np.uint8, "r", shape=shape)


class ImageStoreWriter:
    """Makes a store in the directory `path`, image by image in the order of their paths.

    Pixels come with `add`, or were put by another process into any later row of `pixels_path` (`write_row`) and are
    taken over by `keep`, which closes the gaps that failed files left. Bytes go through `pwrite`, never through a
    mapping: a full disk is then an `OSError` and not a SIGBUS. The store exists once `finish` has written `store.json`.
    """

    def __init__(self, path: Path, side: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.side = side
        self.count = 0
        self.pixels_path = path / "images.u8"
        self._pixels = os.open(self.pixels_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._manifest = (path / "manifest.jsonl").open("w", encoding="utf-8")
        self._problems = (path / "problems.jsonl").open("w", encoding="utf-8")
        self._digest = hashlib.sha256(f"side {side}\n".encode())
        self._files: list[str] = []
        self._classes: set[str] = set()
        self._labelled = 0
        self._skipped = 0
        self._duplicates = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(self, image: StoredImage, pixels: NDArray[np.uint8]) -> None:
        """Append `image` with its pixels, uint8 (side, side, 3)."""
        write_row(self._pixels, self.count, pixels)
        self._list(image)

    def keep(self, image: StoredImage, row: int) -> None:
        """Append `image`, whose pixels lie in `row` of `pixels_path` already; rows are taken over in rising order."""
        if row != self.count:
            size = self.side * self.side * CHANNELS
            _write_fully(self._pixels, os.pread(self._pixels, size, row * size), self.count * size)
        self._list(image)

    def skip(self, problem: Problem) -> None:
        self._problems.write(json.dumps(asdict(problem)) + "\n")
        self._duplicates += problem.reason == "duplicate"
        self._skipped += problem.reason != "duplicate"

    def finish(self) -> dict[str, Any]:
        """Write `store.json` and return what it says."""
        os.ftruncate(self._pixels, self.count * self.side * self.side * CHANNELS)
        self.close()
        facts = {
            "count": self.count,
            "side": self.side,
            "classes": sorted(self._classes),
            "labelled": self._labelled,
            "skipped": self._skipped,
            "duplicates": self._duplicates,
            "digest": self._digest.hexdigest(),
            "photographs": photographs_digest(self._files),
        }
        (self.path / "store.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return facts

    def close(self) -> None:
        if self._pixels >= 0:
            os.close(self._pixels)
            self._pixels = -1
        self._manifest.close()
        self._problems.close()

    def _list(self, image: StoredImage) -> None:
        self._manifest.write(json.dumps({"index": self.count, **asdict(image)}) + "\n")
        self._digest.update((json.dumps([image.path, image.sha256, image.label]) + "\n").encode())
        self._files.append(image.sha256)
        if image.label is not None:
            self._classes.add(image.label)
            self._labelled += 1
        self.count += 1


def write_row(file: int, row: int, pixels: NDArray[np.uint8]) -> None:
    """Put the pixels of one square, uint8 (side, side, 3), at `row` of the open `images.u8`. Processes may share it."""
    _write_fully(file, np.ascontiguousarray(pixels).data.cast("B"), row * pixels.nbytes)


def _write_fully(file: int, content: bytes | memoryview, offset: int) -> None:
    left = memoryview(content)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def write_store(
    path: Path, images: NDArray[np.uint8], paths: Sequence[str], labels: Sequence[str | None]
) -> dict[str, Any]:
    """Make a store from squares in memory, uint8 (count, side, side, 3), as tests and notebooks do; returns its facts.

    The `sha256` in its manifest is that of the pixels. Images are stored sorted by path.
    """
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[1] != images.shape[2]
        or images.shape[3] != CHANNELS
    ):
        raise ValueError(f"images are uint8 (count, side, side, 3), not {images.dtype} {images.shape}")
    side = images.shape[1]
    with ImageStoreWriter(path, side) as writer:
        for name, pixels, label in sorted(zip(paths, images, labels, strict=True), key=lambda row: row[0]):
            sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
            writer.add(StoredImage(name, sha256, pixels.nbytes, side, side, label), pixels)
        return writer.finish()
