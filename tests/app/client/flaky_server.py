"""An HTTP server that serves one file with ranges, and hangs up in the middle when told to."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FlakyServer(ThreadingHTTPServer):
    def __init__(self, body: bytes, *, hang_up_after: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.tag = hashlib.sha256(body).hexdigest()
        self.hang_up_after = hang_up_after
        """Bytes sent per answer before the connection is cut; None: none is."""
        self.ranges: list[str | None] = []
        """The Range header of every request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (the base's own)
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: FlakyServer

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        if self.path != "/file":
            self._answer(404, b"", {})
            return
        server.ranges.append(asked)
        matches = self.headers.get("If-Range") == f'"{server.tag}"'
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and matches else 0
        if start >= len(server.body) > 0:
            self._answer(416, b"", {"Content-Range": f"bytes */{len(server.body)}"})
            return
        self._answer(206 if start else 200, server.body[start:], {"ETag": f'"{server.tag}"'})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: self.server.hang_up_after])

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def serving(body: bytes, *, hang_up_after: int | None = None) -> Iterator[FlakyServer]:
    with FlakyServer(body, hang_up_after=hang_up_after) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
