"""Boxes that may hold an object: where Fast R-CNN looks.

Sources: selective search (Uijlings et al. 2013) and EdgeBoxes (Zitnick and Dollar 2014) by OpenCV, windows of fixed
sizes, or boxes that somebody brought.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np

from worker.config.reasons import Reason
from worker.config.transfer import VocDetectionProtocol
from worker.data.annotated import AnnotatedStore
from worker.data.chunk import die_with_parent
from worker.data.proposals import FILE, FloatBoxes
from worker.evaluation.detectors.grid import LEAST_SIDE, grid_boxes
from worker.stages.contract import Context, StageError, Stopped
from worker.stages.machine_errors import machine_errors

Source = Literal["selective_search", "edge", "grid", "given"]
CHUNK = 16
_ABOUT = "about"


def resolved_source(asked: Literal["auto"] | Source) -> Source:
    """`auto` is selective search where OpenCV's extra modules are installed, else the grid.

    Raises `StageError(bad_config)` for a source that needs them where they are missing.
    """
    installed = importlib.util.find_spec("cv2") is not None
    if asked == "auto":
        return "selective_search" if installed else "grid"
    if asked in ("selective_search", "edge") and not installed:
        message = f"The proposals '{asked}' need OpenCV: install the extra 'detection', or ask for 'grid'."
        raise StageError(Reason.bad_config, message)
    return asked


def proposals_of(
    store: AnnotatedStore,
    images: Sequence[int],
    source: Source,
    protocol: VocDetectionProtocol,
    processes: int,
    context: Context,
) -> list[FloatBoxes]:
    """At most `protocol.proposals` boxes of each image, float32 (n, 4), pixels of the original, half-open.

    What OpenCV found is kept in the work directory (`proposals.npz`), and taken from an earlier attempt's. Raises
    `Stopped` when asked to stop, `StageError` where given proposals are no good.
    """
    if source == "grid":
        found = {store.id(image): grid_boxes(store.size(image), protocol.proposals) for image in images}
    elif source == "given":
        found = _given(store, images)
    else:
        found = _searched(store, images, Search(store.path, source, protocol.proposals_side), processes, context)
    return [found[store.id(image)][: protocol.proposals] for image in images]


@dataclass(frozen=True)
class Search:
    """How OpenCV searches."""

    store: Path
    source: Literal["selective_search", "edge"]
    side: int
    """Images are shrunk to this long side first."""


def search(settings: Search, images: Sequence[int]) -> list[FloatBoxes]:
    """The boxes of each image, by OpenCV; run in a process of its own."""
    from worker.evaluation.detectors.opencv import edge_boxes, selective_search

    store = AnnotatedStore.open(settings.store)
    find = selective_search if settings.source == "selective_search" else edge_boxes
    return [_large(find(store.read(image).permute(1, 2, 0).numpy(), settings.side)) for image in images]


def write_proposals(path: Path, found: Mapping[str, FloatBoxes], about: str) -> None:
    """Keep what was found, whole or not at all: image id -> boxes (n, 4), and `about` the settings."""
    part = path.with_suffix(".part")
    try:
        with machine_errors("keeping the proposals"):
            with part.open("wb") as file:
                np.savez(file, **{_ABOUT: np.array(about)}, **dict(found))  # type: ignore[arg-type]
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_proposals(path: Path, about: str) -> dict[str, FloatBoxes]:
    """The boxes that were kept, by image id; none where it is of other settings than `about`.

    Raises OSError or ValueError for a file that isn't one.
    """
    try:
        with np.load(path) as file:
            if _ABOUT not in file or str(file[_ABOUT]) != about:
                return {}
            return {name: file[name] for name in file.files if name != _ABOUT}
    except BadZipFile as error:
        raise ValueError(f"{path.name} is damaged") from error


def _searched(
    store: AnnotatedStore, images: Sequence[int], settings: Search, processes: int, context: Context
) -> dict[str, FloatBoxes]:
    about = f"{settings.source} {settings.side} {store.digest}"
    found = _earlier(about, context)
    missing = [image for image in dict.fromkeys(images) if store.id(image) not in found]
    chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    done = 0
    try:
        for chunk, boxes in zip(chunks, _chunks(settings, chunks, processes), strict=True):
            found |= {store.id(image): one for image, one in zip(chunk, boxes, strict=True)}
            done += len(chunk)
            context.progress(done, len(missing), "images searched")
            if context.should_stop():
                raise Stopped
    finally:
        write_proposals(context.workdir / FILE, found, about)
    return found


def _earlier(about: str, context: Context) -> dict[str, FloatBoxes]:
    for folder in (context.workdir, context.resume_from):
        path = None if folder is None else folder / FILE
        if path is None or not path.is_file():
            continue
        try:
            return read_proposals(path, about)
        except (OSError, ValueError) as error:
            context.log(f"The earlier attempt's proposals can't be read ({error}): searching anew.", "warning")
    return {}


def _chunks(settings: Search, chunks: Sequence[Sequence[int]], processes: int) -> Iterator[list[FloatBoxes]]:
    if processes == 1 or len(chunks) <= 1:
        yield from (search(settings, chunk) for chunk in chunks)
        return
    # spawn: forking a process that holds threads may hang
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=die_with_parent)
    try:
        yield from pool.map(search, [settings] * len(chunks), chunks)
    except BrokenProcessPool as error:
        raise StageError(Reason.crashed, "A process that searched proposals was killed.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _given(store: AnnotatedStore, images: Sequence[int]) -> dict[str, FloatBoxes]:
    if store.proposed == 0:
        message = f"The photographs were registered without {FILE}; register them with it, or ask for other proposals."
        raise StageError(Reason.bad_config, message)
    wanted = list(dict.fromkeys(images))
    found = dict(zip(map(store.id, wanted), store.proposals(wanted), strict=True))
    lacking = [id for id, boxes in found.items() if boxes is None]
    if lacking:
        message = f"{len(lacking)} of {len(wanted)} images have no proposals in {FILE}, {lacking[0]} among them; "
        raise StageError(Reason.bad_labels, message + "an image where none were found needs an empty array.")
    return {id: _large(boxes) for id, boxes in found.items() if boxes is not None}


def _large(boxes: FloatBoxes) -> FloatBoxes:
    sides = boxes[:, 2:] - boxes[:, :2]
    kept: FloatBoxes = boxes[(sides >= LEAST_SIDE).all(1)]
    return kept
