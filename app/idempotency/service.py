"""A POST that is sent twice happens once: the client names it with an `Idempotency-Key`."""

import hashlib
import zlib
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.locks import IDEMPOTENCY
from app.dependencies import Db
from app.idempotency.tables import IdempotencyKey
from app.problems import Problem

KEPT = timedelta(days=7)

Answer = TypeVar("Answer", bound=BaseModel)


class OneTime:
    """Runs a request, or repeats what was answered the first time."""

    def __init__(self, session: Session, request: Request, response: Response, key: str | None) -> None:
        self._session = session
        self._request = request
        self._response = response
        self._key = key

    def answer(self, body: BaseModel, kind: type[Answer], make: Callable[[], Answer]) -> Answer:
        """`make`'s answer. 422 `idempotency_mismatch` when the key stands for another request."""
        if self._key is None:
            return make()
        # Whoever comes second with the same key waits here until the first is committed or rolled back.
        self._session.execute(select(func.pg_advisory_xact_lock(IDEMPOTENCY, _hash(self._key))))
        digest = self._digest(body)
        known = self._session.get(IdempotencyKey, self._key)
        if known is None:
            return self._remember(digest, make())
        if known.request_sha256 != digest:
            raise Problem(422, "idempotency_mismatch", "This Idempotency-Key was used for another request.")
        self._response.headers["Idempotency-Replayed"] = "true"
        return kind.model_validate(known.response)

    def _digest(self, body: BaseModel) -> str:
        request = f"{self._request.method} {self._request.url.path}\n{body.model_dump_json()}"
        return hashlib.sha256(request.encode()).hexdigest()

    def _remember(self, digest: str, answer: Answer) -> Answer:
        self._session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - KEPT))
        kept = answer.model_dump(mode="json")
        self._session.add(IdempotencyKey(key=self._key, request_sha256=digest, status=202, response=kept))
        return answer


def _hash(key: str) -> int:
    """A signed 32-bit number, as Postgres' two-part locks take it."""
    return zlib.crc32(key.encode()) - (1 << 31)


def _one_time(
    session: Db,
    request: Request,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> OneTime:
    return OneTime(session, request, response, idempotency_key)


Once = Annotated[OneTime, Depends(_one_time, scope="function")]
