"""Limits and headers that hold for every request; pure ASGI, so that streams pass unhindered."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import Problem, response

UPLOADS = "/uploads"


class BodyLimit:
    """Refuses bodies over `limit` bytes with 413, by their announced length or, where none is, by counting.

    `/uploads` streams to disk under a limit of its own.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == UPLOADS:
            return await self.app(scope, receive, send)
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdigit():
            return await self._refuse(scope, receive, send, Problem(400, "bad_request", "Content-Length is no number."))
        if int(announced) > self.limit:
            return await self._refuse(scope, receive, send, self._too_large())
        await self.app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> Problem:
        return Problem(413, "body_too_large", f"A request's body may have {self.limit} bytes; use /uploads for files.")

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, problem: Problem) -> None:
        await response(problem)(scope, receive, send)


class SecurityHeaders:
    """Browsers shall neither guess types nor frame, cache or run what the API answers; a page has its own policy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("X-Frame-Options", "DENY")
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self.app(scope, receive, send_with_headers)
