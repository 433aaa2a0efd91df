"""Unpacking of uploaded archives, which may have been made to do harm."""

import errno
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from worker.config.reasons import Reason
from worker.stages.contract import StageError

CHUNK = 1 << 20
MAX_READ = 16 << 20
"""Nothing sound asks for more at once; a tar header that says it is longer would be read into memory whole."""
MAX_DEPTH = 64
RATIO_FREE_BYTES = 1 << 20
"""A few flat pictures may shrink by any factor; the ratio counts from here on."""
TAR_BLOCK = 512
IMPOSSIBLE_NAME = (errno.ENAMETOOLONG, errno.EILSEQ)
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # zipfile, of a compression it doesn't know
    UnicodeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    max_files: int
    """Members, folders included."""
    max_bytes: int
    """Unpacked."""
    max_ratio: float
    """Unpacked to packed bytes."""


def unpack(archive: Path, target: Path, limits: ArchiveLimits, advance: Callable[[int, int], None]) -> None:
    """Unpack a .tar, .tar.gz, .tgz, .tar.xz or .zip file (told by its content) into the new folder `target`.

    Only plain files and folders that stay below `target` are taken. Sizes are counted while reading, whatever the
    headers say. `advance(done, total)` hears of the packed bytes after every member and may raise to stop.
    Raises `StageError(archive_refused)` naming the member; whatever is raised, `target` is gone again.
    """
    target.mkdir()
    meter = _Meter(archive, limits)
    try:
        with archive.open("rb") as packed:
            magic = packed.read(6)
            packed.seek(0)
            if magic.startswith(b"PK"):
                _unpack_zip(packed, target, meter, advance)
            else:
                _unpack_tar(packed, magic, target, meter, advance)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, BROKEN):
            raise meter.refused(f"is broken or cut short: {error}".rstrip(". :")) from error
        if isinstance(error, OSError) and error.errno in IMPOSSIBLE_NAME:
            raise meter.refused("has a member with an impossible path") from error
        raise


@dataclass(slots=True)
class _Meter:
    """Counts what comes out of an archive and refuses it once that is too much."""

    archive: Path
    limits: ArchiveLimits
    packed_bytes: int = field(init=False)
    files: int = 0
    bytes: int = 0
    member: str = ""
    """The one being read, for messages."""

    def __post_init__(self) -> None:
        self.packed_bytes = self.archive.stat().st_size

    def next_member(self, name: str) -> None:
        self.member = name
        self.files += 1
        if self.files > self.limits.max_files:
            raise self.refused(f"has more than {self.limits.max_files:,} members")

    def take(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.limits.max_bytes:
            raise self.refused(f"unpacks to more than {self.limits.max_bytes:,} bytes")
        if self.bytes > max(RATIO_FREE_BYTES, self.limits.max_ratio * self.packed_bytes):
            raise self.refused(f"unpacks to more than {self.limits.max_ratio:g} times its size")

    def refused(self, why: str) -> StageError:
        at = f" (at member {self.member!r})" if self.member else ""
        return StageError(Reason.archive_refused, f"The archive '{self.archive.name}' {why}{at}.")


class _MeteredReader(io.RawIOBase):
    """The tar file inside a compressed stream, metered, as `tarfile` wants it: only ever forward."""

    def __init__(self, stream: IO[bytes], meter: _Meter) -> None:
        self._stream = stream
        self._meter = meter
        self._position = 0
        self.last = b""
        """What the newest read returned."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ:
            raise self._meter.refused("has a member with an endless header")
        self.last = self._stream.read(size)
        self._position += len(self.last)
        self._meter.take(len(self.last))
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        while self._position < offset and self.read(min(CHUNK, offset - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position

    def is_at_end_mark(self) -> bool:
        """Whether the newest block was the zeros that close a tar file; `tarfile` takes any nonsense for its end."""
        return self.last == bytes(TAR_BLOCK)


def _unpack_tar(
    packed: IO[bytes], magic: bytes, target: Path, meter: _Meter, advance: Callable[[int, int], None]
) -> None:
    reader = _MeteredReader(_decompressed(packed, magic), meter)
    with tarfile.TarFile(fileobj=cast(IO[bytes], reader), errorlevel=2) as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep millions
            meter.next_member(member.name)
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise meter.refused(f"holds {_tar_kind(member)}, and only plain files and folders are taken")
            path = _place(target, member.name, meter)
            _put(tar.extractfile(member), path, meter)
            advance(packed.tell(), meter.packed_bytes)
    if not reader.is_at_end_mark():
        raise meter.refused("is cut short")
    while reader.read(CHUNK):  # to the checksum at the end of the compressed stream
        pass


def _decompressed(packed: IO[bytes], magic: bytes) -> IO[bytes]:
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=packed))
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(packed)
    return packed


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "a link"
    return "a sparse file" if member.issparse() else "a device or pipe"


def _unpack_zip(packed: IO[bytes], target: Path, meter: _Meter, advance: Callable[[int, int], None]) -> None:
    done = 0
    with zipfile.ZipFile(packed) as archive:
        for member in archive.infolist():
            meter.next_member(member.filename)
            _check_zip_member(member, meter)
            path = _place(target, member.filename.replace("\\", "/"), meter)
            if member.filename.endswith(("/", "\\")):
                _put(None, path, meter)
            else:
                with archive.open(member) as content:
                    _put(content, path, meter, metered=True)
            done += member.compress_size
            advance(done, meter.packed_bytes)


def _check_zip_member(member: zipfile.ZipInfo, meter: _Meter) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a device or pipe"
        raise meter.refused(f"holds {what}, and only plain files and folders are taken")
    if member.flag_bits & 1:
        raise meter.refused("is encrypted")


def _place(target: Path, name: str, meter: _Meter) -> Path:
    """Where the member goes: below `target`, or nowhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise meter.refused("has a member with an absolute path")
    if ".." in parts:
        raise meter.refused("has a member that climbs out with '..'")
    if "\0" in name or len(parts) > MAX_DEPTH:
        raise meter.refused("has a member with an impossible path")
    return target.joinpath(*parts)


def _put(content: IO[bytes] | None, path: Path, meter: _Meter, *, metered: bool = False) -> None:
    """Write a file, or make a folder where there is no content."""
    try:
        os.makedirs(path if content is None else path.parent, exist_ok=True)
        if content is None:
            return
        with path.open("xb") as file:
            while chunk := content.read(CHUNK):
                if metered:
                    meter.take(len(chunk))
                file.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise meter.refused("has two members at the same path") from error
