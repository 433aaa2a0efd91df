"""Errors as `application/problem+json` (RFC 9457): a stable `code` for programs, one sentence for people."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


class FieldError(BaseModel):
    path: str
    """Dotted, as in the request's body: `config.cluster.k`."""
    message: str


class ProblemBody(BaseModel):
    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldError] = []


def problem_responses() -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: every refusal is a ProblemBody."""
    schema = ProblemBody.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")["FieldError"]
    return {"4XX": {"description": "The request was refused.", "content": {MEDIA_TYPE: {"schema": schema}}}}


class Problem(HTTPException):
    """Raised anywhere below an endpoint; whatever the request had written is rolled back."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.body = ProblemBody(
            title=HTTPStatus(status).phrase, status=status, code=code, detail=detail, errors=list(errors)
        )


def not_found(noun: str, ref: str) -> Problem:
    return Problem(404, f"{noun.replace(' ', '_')}_not_found", f"There is no {noun} {ref!r}.")


def field_errors(errors: Sequence[Any], below: str = "") -> list[FieldError]:
    """Pydantic's errors with dotted paths, below the path `below`."""
    return [FieldError(path=_path(error["loc"], below), message=_message(error)) for error in errors]


def invalid(error: ValidationError, below: str = "") -> Problem:
    """A 422 that names every setting at fault."""
    errors = field_errors(error.errors(include_url=False, include_context=False), below)
    return Problem(422, "invalid_request", _sentence(errors), errors)


def install(app: FastAPI) -> None:
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(DataError, _on_unstorable)
    app.add_exception_handler(Exception, _on_bug)


def response(problem: Problem) -> JSONResponse:
    body = problem.body
    return JSONResponse(body.model_dump(), body.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return response(error)


def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = field_errors(error.errors())
    return response(Problem(422, "invalid_request", _sentence(errors), errors))


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return response(Problem(error.status_code, code, str(error.detail), headers=error.headers))


def _on_disconnect(request: Request, error: Exception) -> Response:
    return response(Problem(400, "client_disconnected", "The connection ended before the request did."))


def _on_unstorable(request: Request, error: Exception) -> Response:
    """A NUL in a text, a number beyond 64 bits: fine as JSON, nothing that Postgres takes."""
    log.warning("%s %s: %s", request.method, request.url.path, error)
    return response(Problem(422, "invalid_request", "The request holds a text or number that can't be stored."))


def _on_bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return response(Problem(500, "internal_error", "The service failed at this request; its log says why."))


def _path(location: Sequence[Any], below: str) -> str:
    parts = [str(part) for part in location if part != "body"]
    return ".".join([below, *parts] if below else parts)


def _message(error: Any) -> str:  # noqa: ANN401 - pydantic's own dict
    if error["type"] == "extra_forbidden":
        return "There is no such setting."
    message = str(error["msg"]).removeprefix("Value error, ")
    return message


def _sentence(errors: Sequence[FieldError]) -> str:
    first = errors[0]
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.path}: {first.message}{more}" if first.path else f"{first.message}{more}"
