"""Ingest: a folder or an archive of images -> the image store, every image decoded once."""

import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from worker.config.ingest import IngestConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.data.archive import ArchiveLimits
from worker.data.chunk import Chunk, decode_chunk, die_with_parent
from worker.data.disk_full import disk_full_named
from worker.data.scan import Scan, are_labelled_by_folders, csv_labels, describe_ignored, folder_labels, scan_folder
from worker.data.store import ImageStoreWriter, Problem, StoredImage
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.source_folder import removed_on_failure, source_folder, stop_if_asked
from worker.stages.standalone import main

CHUNK_IMAGES = 32
CHUNKS_AHEAD = 4
"""Per process: enough that one slow chunk leaves no process idle."""
Outcome = StoredImage | Problem


class IngestInputs(Inputs):
    source: Path
    """A folder, or a .tar, .tar.gz, .tgz, .tar.xz or .zip file."""


class IngestResult(Result):
    store: Produced


def run(config: IngestConfig, inputs: IngestInputs, context: Context) -> IngestResult:
    """Make the image store. Files that give no image, and exact duplicates, are listed in it and never fatal.

    An archive whose one member at the top is a folder is read from within that folder. Stopped and resumed, ingest
    starts afresh. Raises `StageError` with source_missing, empty_source, too_few_images, archive_refused, bad_labels
    or disk_full; then nothing is left in the workdir.
    """
    store = context.workdir / "store"
    limits = ArchiveLimits(config.max_files, config.max_bytes, config.max_ratio)
    with (
        removed_on_failure(store),
        disk_full_named("storing the images"),
        source_folder(inputs.source, limits, context) as root,
    ):
        scan = _scan(root, inputs.source, context)
        config = _resolved(config, scan)
        context.resolved(config)
        labels = _labels(config, root, scan.paths)
        with ImageStoreWriter(store, config.side) as writer:
            for problem in scan.problems:
                writer.skip(problem)
            _fill(writer, _chunks(config, root, scan.paths, labels, writer.pixels_path), config, context)
            _need_two(writer, len(scan.paths))
            facts = writer.finish() | {"ignored": scan.ignored.total()}
    context.log("{count} images stored, {duplicates} duplicates and {skipped} bad files listed".format(**facts))
    return IngestResult(store=Produced(kind=ArtifactKind.image_store, path=store, summary=facts))


def _scan(root: Path, source: Path, context: Context) -> Scan:
    scan = scan_folder(root)
    if scan.ignored:
        context.log(f"Left out: {', '.join(describe_ignored(scan.ignored))}")
    if not scan.paths:
        raise StageError(
            Reason.empty_source,
            f"'{source.name}' holds no image files (JPEG, PNG, WebP, BMP, GIF, TIFF); "
            f"{scan.ignored.total() + len(scan.problems)} other files were seen.",
        )
    return scan


def _resolved(config: IngestConfig, scan: Scan) -> IngestConfig:
    labels, processes = config.labels, config.processes
    if labels == "auto":
        labels = "folders" if are_labelled_by_folders(scan.paths) else "none"
    if processes == "auto":
        processes = len(os.sched_getaffinity(0))
    chunks = -(-len(scan.paths) // CHUNK_IMAGES)
    return config.model_copy(update={"labels": labels, "processes": max(1, min(processes, chunks))})


def _labels(config: IngestConfig, root: Path, paths: list[str]) -> dict[str, str]:
    if config.labels == "folders":
        return folder_labels(paths)
    return {} if config.labels_csv is None else csv_labels(root, config.labels_csv, config.label_column, paths)


def _chunks(
    config: IngestConfig, root: Path, paths: list[str], labels: dict[str, str], pixels_path: Path
) -> list[Chunk]:
    return [
        Chunk(
            root=root,
            paths=tuple(names := paths[first : first + CHUNK_IMAGES]),
            labels=tuple(map(labels.get, names)),
            pixels_path=pixels_path,
            first_row=first,
            side=config.side,
            max_pixels=config.max_pixels,
        )
        for first in range(0, len(paths), CHUNK_IMAGES)
    ]


def _fill(writer: ImageStoreWriter, chunks: list[Chunk], config: IngestConfig, context: Context) -> None:
    total = sum(len(chunk.paths) for chunk in chunks)
    seen: dict[str, str] = {}
    context.progress(0, total, "images")
    with closing(_decoded(chunks, int(config.processes))) as decoded:
        for chunk, outcomes in zip(chunks, decoded, strict=True):
            _take_over(writer, chunk, outcomes, seen)
            context.progress(chunk.first_row + len(chunk.paths), total, "images")
            stop_if_asked(context)


def _take_over(writer: ImageStoreWriter, chunk: Chunk, outcomes: list[Outcome], seen: dict[str, str]) -> None:
    """Of files with the same bytes the first in the order of paths is kept."""
    for row, outcome in enumerate(outcomes, start=chunk.first_row):
        if isinstance(outcome, Problem):
            writer.skip(outcome)
        elif outcome.sha256 in seen:
            writer.skip(Problem(outcome.path, "duplicate", f"same bytes as {seen[outcome.sha256]}"))
        else:
            seen[outcome.sha256] = outcome.path
            writer.keep(outcome, row)


def _decoded(chunks: list[Chunk], processes: int) -> Generator[list[Outcome], None, None]:
    """The chunks' outcomes in order, decoded here or by several processes that stay a little ahead."""
    if processes == 1:
        yield from map(decode_chunk, chunks)
        return
    # spawn: forking a process that holds threads (as a worker's child or a notebook does) may hang
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=die_with_parent)
    ahead: deque[Future[list[Outcome]]] = deque()
    try:
        for chunk in chunks:
            ahead.append(pool.submit(decode_chunk, chunk))
            if len(ahead) > CHUNKS_AHEAD * processes:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    except BrokenProcessPool as error:
        raise StageError(
            Reason.crashed, "A decoding process was killed, perhaps for want of memory; fewer processes may help."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _need_two(writer: ImageStoreWriter, files: int) -> None:
    if writer.count < 2:
        raise StageError(
            Reason.too_few_images,
            f"Of {files} image files {writer.count} could be stored, and at least 2 different ones are needed.",
        )


if __name__ == "__main__":
    main(run, IngestConfig, IngestInputs)
