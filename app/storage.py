"""Where files live: artifacts by digest, attempts' work directories, uploads in flight.

One folder, shared by all hosts.
"""

import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class StoredDirectory:
    sha256: str
    files: tuple[StoredFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


class Storage:
    def __init__(self, root: Path) -> None:
        self.root = root

    def artifact(self, sha256: str) -> Path:
        return self.root / "artifacts" / sha256[:2] / sha256

    def attempt(self, stage_id: uuid.UUID, attempt_no: int) -> Path:
        """The work directory of one attempt: nobody else ever writes there."""
        return self.root / "work" / str(stage_id) / str(attempt_no)

    def incoming(self) -> Path:
        """A fresh path for bytes that are still arriving."""
        folder = self.root / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid.uuid4().hex

    def commit(self, source: Path) -> StoredDirectory:
        """Move a finished directory to its digest's place: hashed, synced, renamed; it is there whole or not at all.

        Where the same content is there already, `source` is removed instead.
        """
        stored = digest_directory(source)
        target = self.artifact(stored.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(source, target)
        except OSError:
            if not target.is_dir():
                raise
            # Young again: whoever collects old, unused directories leaves it alone until it is referred to.
            os.utime(target)
            shutil.rmtree(source)
        _sync(target.parent)
        return stored


def digest_directory(source: Path) -> StoredDirectory:
    """The digest of a flat directory: sha256 over the sorted `sha256  name` lines of its files, each synced to disk."""
    files = tuple(
        StoredFile(name=path.name, bytes=path.stat().st_size, sha256=_digest_file(path))
        for path in sorted(source.iterdir())
    )
    listing = "".join(f"{file.sha256}  {file.name}\n" for file in files)
    return StoredDirectory(sha256=hashlib.sha256(listing.encode()).hexdigest(), files=files)


def _digest_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
