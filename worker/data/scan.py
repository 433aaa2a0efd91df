"""Which files below a folder are images, and what labels they carry."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from worker.config.reasons import Reason
from worker.data.label_file import read_label_file, refused
from worker.data.store import Problem
from worker.stages.contract import StageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"})
OTHER_IMAGE_SUFFIXES = frozenset({".avif", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg", ".dng", ".cr2", ".nef"})
"""Listed as `unsupported`, so that nobody has to guess where their photographs went."""


@dataclass(slots=True)
class Scan:
    paths: list[str] = field(default_factory=list)
    """Image files below the root, with `/`, sorted."""
    problems: list[Problem] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """What is no image: how many files of each suffix, or of the kind `hidden`, `link`, `special`."""


def scan_folder(root: Path) -> Scan:
    """Find the image files below `root`, recursively, by their suffix.

    Links to folders are not followed; links to files only where the target lies below `root`. Hidden files and folders
    and files of other kinds are counted and left out. Nothing is opened.
    """
    scan = Scan()
    inside = os.path.realpath(root)
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    _take(entry, f"{folder}/{entry.name}".lstrip("/"), inside, scan, folders)
        except OSError as error:
            scan.problems.append(Problem(printable(folder), "unreadable", error.strerror or str(error)))
    scan.paths.sort()
    scan.problems.sort(key=lambda problem: problem.path)
    return scan


def _take(entry: "os.DirEntry[str]", path: str, inside: str, scan: Scan, folders: list[str]) -> None:
    suffix = PurePosixPath(entry.name).suffix.lower()
    if entry.name.startswith("."):
        scan.ignored["hidden"] += 1
    elif entry.is_dir(follow_symlinks=False):
        folders.append(path)
    elif suffix in OTHER_IMAGE_SUFFIXES:
        scan.problems.append(Problem(printable(path), "unsupported", f"{suffix[1:].upper()} images are not read"))
    elif suffix not in SUFFIXES:
        scan.ignored["link" if entry.is_symlink() and entry.is_dir() else printable(suffix) or "no suffix"] += 1
    elif not entry.is_file():
        scan.ignored["link" if entry.is_symlink() else "special"] += 1
    elif entry.is_symlink() and not os.path.realpath(entry.path).startswith(inside.rstrip("/") + "/"):
        scan.problems.append(Problem(printable(path), "unreadable", "a link that leaves the source"))
    elif printable(path) != path:
        scan.problems.append(Problem(printable(path), "unreadable", "the name is not valid UTF-8"))
    else:
        scan.paths.append(path)


def printable(text: str) -> str:
    """`text` with the bytes that are no UTF-8 (as Linux file names may hold) written as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def folder_labels(paths: list[str]) -> dict[str, str]:
    """Path -> first folder below the root; images in the root itself have none."""
    return {path: path.split("/", 1)[0] for path in paths if "/" in path}


def are_labelled_by_folders(paths: list[str]) -> bool:
    """Whether at least two folders below the root hold all images."""
    labels = folder_labels(paths)
    return len(labels) == len(paths) and len(set(labels.values())) >= 2


def csv_labels(root: Path, labels_csv: str, label_column: str, paths: list[str]) -> dict[str, str]:
    """Path -> label of the CSV file at `labels_csv` below `root`; images it doesn't name have none.

    Raises `StageError(bad_labels)`, naming the line, where a path is none of `paths` or comes twice.
    """
    file = root / labels_csv
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root)):
        raise StageError(Reason.bad_labels, f"The label file '{labels_csv}' does not lie below the source.")
    known = frozenset(paths)
    labels = {}
    for row in read_label_file(file, label_column):
        if row.path not in known:
            raise refused(file, row.line, f"there is no image '{row.path}' in the source")
        labels[row.path] = row.label
    return labels


def describe_ignored(ignored: Counter[str]) -> Iterator[str]:
    """`7858 .ogg`, `952 .txt`, ...: the commonest first."""
    return (f"{count} {kind}" for kind, count in sorted(ignored.items(), key=lambda item: (-item[1], item[0])))
