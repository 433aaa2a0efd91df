"""What goes wrong between a client and the service."""

import json
from typing import Any

import httpx


class ApiError(Exception):
    """The service refused: `code` is for programs, the message is the service's own sentence."""

    def __init__(self, status: int, code: str, detail: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.problem = problem or {}


class Unreachable(Exception):
    """No service answers at the address."""


class CorruptDownload(Exception):
    """The bytes that arrived are not the bytes that were announced; nothing was kept."""


def raise_for_problem(response: httpx.Response) -> None:
    """Raise ApiError for a 4xx or 5xx, whether or not its body is problem+json."""
    if response.status_code < 400:
        return
    problem = _problem(response)
    code = str(problem.get("code") or f"http_{response.status_code}")
    detail = str(problem.get("detail") or problem.get("title") or response.reason_phrase)
    raise ApiError(response.status_code, code, detail, problem)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = json.loads(response.read())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
