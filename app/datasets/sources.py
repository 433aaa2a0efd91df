"""Where a dataset's images come from. A folder is named relative to a configured root and can't leave it."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.settings import Settings
from app.storage import Storage


class FolderSource(BaseModel):
    """A folder on the server, below one of the configured roots."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["folder"]
    root: str = Field(description="name of a configured root")
    path: str = Field(".", max_length=4096, description="below the root, with forward slashes")


class UploadSource(BaseModel):
    """A tar or zip that was uploaded before (`POST /uploads`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["upload"]
    upload: str = Field(description="id of the upload")


class SourceRefused(ValueError):
    """The source can't be used; `code` is for programs, the message names no path of the server."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ContainedFolder:
    """An existing, non-empty folder that lies below its root once every link is followed. There is no other way in."""

    def __init__(self, root: Path, relative: str) -> None:
        _check_spelling(relative)
        try:
            top = root.resolve(strict=True)
            path = (top / relative).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise SourceRefused("source_missing", f"There is no folder {relative!r} below this root.") from error
        if not path.is_relative_to(top):
            raise SourceRefused("path_outside_root", f"{relative!r} leads out of its root.")
        if not path.is_dir():
            raise SourceRefused("source_not_a_folder", f"{relative!r} is not a folder.")
        if not _has_entries(path, relative):
            raise SourceRefused("empty_source", f"The folder {relative!r} is empty.")
        self.path = path


def resolve_source(settings: Settings, source: Mapping[str, Any]) -> Path:
    """The folder, or the uploaded file, that a dataset's `source` names; raises SourceRefused.

    Called when a dataset is registered and again when its images are read: a link may have changed in between.
    """
    if source["kind"] == "upload":
        return Storage(settings.storage_root).artifact(source["sha256"]) / str(source["file"])
    root = settings.dataset_roots.get(source["root"])
    if root is None:
        known = ", ".join(sorted(settings.dataset_roots)) or "none is configured"
        raise SourceRefused("unknown_root", f"There is no root {source['root']!r}; known: {known}.")
    return ContainedFolder(root, source["path"]).path


def _check_spelling(relative: str) -> None:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative or "\0" in relative:
        raise SourceRefused("path_outside_root", f"{relative!r} must be a plain path below its root.")


def _has_entries(path: Path, relative: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except OSError as error:
        raise SourceRefused("source_unreadable", f"The folder {relative!r} can't be read.") from error
