"""Files from clients: streamed to disk, hashed on the way, stored whole or not at all."""

import errno
import hashlib
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool

from app.artifacts.schemas import UploadOut
from app.artifacts.tables import Artifact
from app.problems import Problem
from app.storage import Storage, StoredDirectory
from worker.config.pipeline import ArtifactKind

SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +-]{0,199}")


async def receive(request: Request, storage: Storage, filename: str, sha256: str | None, limit: int) -> StoredDirectory:
    """Store the request's body under `filename`.

    Problem 413 over `limit` bytes, 422 for a bad name, an empty body or another digest than announced, 400 when the
    body ends early, 507 when the disk is full; then nothing is left behind.
    """
    _check(request, filename, limit)
    folder = storage.incoming()
    try:
        folder.mkdir()
        digest = await _write(request, folder / filename, limit)
        if sha256 is not None and digest != sha256.lower():
            raise Problem(422, "digest_mismatch", f"The file that arrived has sha256 {digest}.")
        return await run_in_threadpool(storage.commit, folder)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise Problem(507, "storage_full", "There is no room left to store the upload.") from error
    finally:
        # Moved away by a commit that went well.
        shutil.rmtree(folder, ignore_errors=True)


def register_upload(sessions: sessionmaker[Session], stored: StoredDirectory) -> UploadOut:
    file = stored.files[0]
    with sessions.begin() as session:
        artifact = Artifact(
            kind=ArtifactKind.upload,
            role="upload",
            sha256=stored.sha256,
            bytes=stored.bytes,
            files=[{"name": file.name, "bytes": file.bytes, "sha256": file.sha256}],
            summary={"file": file.name},
        )
        session.add(artifact)
        session.flush()
        return UploadOut(id=artifact.id, file=file.name, sha256=file.sha256, bytes=file.bytes)


def _check(request: Request, filename: str, limit: int) -> None:
    if not SAFE_NAME.fullmatch(filename):
        raise Problem(422, "bad_filename", "`filename` must be a plain file name of letters, digits and . _ + -")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)


async def _write(request: Request, path: Path, limit: int) -> str:
    digest, received = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for chunk in _chunks(request):
            received += len(chunk)
            if received > limit:
                raise _too_large(limit)
            await run_in_threadpool(_append, file, digest, chunk)
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) != received:
        raise Problem(400, "upload_truncated", f"{announced} bytes were announced, {received} arrived.")
    if received == 0:
        raise Problem(422, "empty_upload", "The upload is empty.")
    return digest.hexdigest()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about a megabyte: fewer trips to the thread that writes."""
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= 1 << 20:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _append(file: BinaryIO, digest: "hashlib._Hash", chunk: bytes) -> None:
    digest.update(chunk)
    file.write(chunk)


def _too_large(limit: int) -> Problem:
    return Problem(413, "upload_too_large", f"An upload may have {limit} bytes.")
