"""Downloads that go on where they stopped, and whose bytes are checked before they get their name."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from app.client.errors import CorruptDownload, Unreachable, raise_for_problem

TRIES = 6
FIRST_PAUSE = 0.2

Advance = Callable[[int, int | None], None]


def download(http: httpx.Client, url: str, params: dict[str, str], target: Path, advance: Advance | None = None) -> str:
    """Fetch `url` into `target` and return its sha256.

    What has arrived waits in `<target>.part`, with its ETag beside it, and is asked for from there on, by this call
    after a lost connection or by a later one. A file that has changed meanwhile is fetched anew. `advance` hears
    the bytes so far and the total. Raises ApiError, Unreachable when `TRIES` in a row bring nothing, CorruptDownload.
    """
    part = _Part(target)
    tries = 0
    while True:
        before = part.size
        try:
            _fetch(http, url, params, part, advance)
            return part.finish()
        except httpx.TransportError as error:
            tries = 1 if part.size > before else tries + 1
            if tries >= TRIES:
                raise Unreachable(f"the download of {target.name} stopped at {part.size} bytes: {error}") from error
            time.sleep(FIRST_PAUSE * 2**tries)


class _Part:
    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.tag_path = target.with_name(target.name + ".part.etag")
        if not self.tag_path.is_file():
            self.path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def tag(self) -> str | None:
        return self.tag_path.read_text() if self.tag_path.is_file() else None

    def begin(self, tag: str) -> None:
        self.path.unlink(missing_ok=True)
        self.tag_path.write_text(tag)

    def finish(self) -> str:
        """Named as asked once its digest is what the ETag says (where the ETag is a sha256)."""
        digest, tag = self._digest(), self.tag or ""
        announced = tag.strip('"')
        self.tag_path.unlink(missing_ok=True)
        if re.fullmatch(r"[0-9a-f]{64}", announced) and announced != digest:
            self.path.unlink()
            raise CorruptDownload(f"{self.target.name} arrived with sha256 {digest}, but {announced} was announced")
        os.replace(self.path, self.target)
        return digest

    def _digest(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(http: httpx.Client, url: str, params: dict[str, str], part: _Part, advance: Advance | None) -> None:
    headers = {"Accept-Encoding": "identity"}
    if part.size and part.tag:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.tag}
    with http.stream("GET", url, params=params, headers=headers, follow_redirects=True) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # All had arrived before the connection, or the client, went away; `finish` says whether it is right.
            return
        raise_for_problem(response)
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            part.begin(response.headers.get("ETag", ""))
        total = _total(response, part.size)
        with part.path.open("ab") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
                if advance is not None:
                    advance(file.tell(), total)


def _total(response: httpx.Response, have: int) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else have + int(length)
