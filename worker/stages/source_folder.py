"""Where a dataset's files are read from: a folder, or an archive unpacked for as long as that takes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.config.reasons import Reason
from worker.data.archive import ArchiveLimits, unpack
from worker.stages.contract import Context, StageError, Stopped


@contextmanager
def source_folder(source: Path, limits: ArchiveLimits, context: Context) -> Iterator[Path]:
    """The folder to read: `source` itself, or where its archive is unpacked; an archive's one top folder counts as it.

    Without such a one the folder is called as the archive, less its suffix.
    Raises `StageError` with source_missing or archive_refused, and `Stopped`.
    """
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise StageError(Reason.source_missing, f"There is no folder or file '{source.name}' to read images from.")
    unpacked = context.workdir / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    folder = unpacked / (source.name.split(".")[0] or "archive")

    def advance(done: int, total: int) -> None:
        stop_if_asked(context)
        context.progress(done, total, "bytes")

    try:
        unpack(source, folder, limits, advance)
        yield _within_only_folder(folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def stop_if_asked(context: Context) -> None:
    if context.should_stop():
        raise Stopped


@contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """Whatever is raised, nothing half is left."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _within_only_folder(folder: Path) -> Path:
    members = [member for member in folder.iterdir() if member.name != "__MACOSX" and not member.name.startswith(".")]
    return members[0] if len(members) == 1 and members[0].is_dir() else folder
