"""A chunk of a dataset's files, decoded into the image store by one process."""

import hashlib
import os
import threading
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from worker.data.decode import ImageProblem, decode
from worker.data.store import Problem, StoredImage, write_row


@dataclass(frozen=True, slots=True)
class Chunk:
    root: Path
    paths: tuple[str, ...]
    """Below `root`."""
    labels: tuple[str | None, ...]
    pixels_path: Path
    """The store's `images.u8`, written in place: pixels never cross a process border."""
    first_row: int
    """The row of the first of `paths`; the others follow."""
    side: int
    max_pixels: int


def decode_chunk(chunk: Chunk) -> list[StoredImage | Problem]:
    """What became of each path, in order. Pixels of a stored image lie in the row of its position.

    Raises `OSError` only where the store can't be written.
    """
    file = os.open(chunk.pixels_path, os.O_WRONLY)
    try:
        return [_decode_file(chunk, index, file) for index in range(len(chunk.paths))]
    finally:
        os.close(file)


def _decode_file(chunk: Chunk, index: int, pixels_file: int) -> StoredImage | Problem:
    path = chunk.paths[index]
    try:
        content = (chunk.root / path).read_bytes()
    except OSError as error:
        return Problem(path, "unreadable", error.strerror or type(error).__name__)
    try:
        image = decode(content, chunk.side, chunk.max_pixels)
    except ImageProblem as problem:
        return Problem(path, problem.reason, problem.detail)
    write_row(pixels_file, chunk.first_row + index, image.pixels)
    sha256 = hashlib.sha256(content).hexdigest()
    return StoredImage(path, sha256, len(content), image.width, image.height, chunk.labels[index])


def die_with_parent() -> None:
    """For a new decoding process: end when its parent is killed, which the pool itself would not notice."""
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
