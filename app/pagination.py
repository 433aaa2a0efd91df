"""Keyset pages: newest first, stable while rows are added."""

import base64
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact
from app.datasets.tables import Dataset
from app.problems import Problem
from app.runs.tables import Run

T = TypeVar("T")
Row = TypeVar("Row", Run, Dataset, Artifact)


class Page(BaseModel, Generic[T]):
    items: list[T]
    next_cursor: str | None = None
    """Give it back as `cursor` for what follows; null at the end."""


Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=200)]


def newest_first(
    session: Session, query: Select[Row], table: type[Row], limit: int, cursor: str | None
) -> tuple[Sequence[Row], str | None]:
    """A page of `query`'s rows, and the cursor of the next one. 422 `bad_cursor` for a cursor that isn't ours."""
    if cursor is not None:
        query = query.where(tuple_(table.created_at, table.id) < tuple_(*_decode(cursor)))
    rows = session.scalars(query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)).all()
    page = rows[:limit]
    return page, _encode(page[-1]) if len(rows) > limit else None


def _encode(row: Run | Dataset | Artifact) -> str:
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()}|{row.id}".encode()).decode()


def _decode(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        moment, _, key = base64.urlsafe_b64decode(cursor).decode().partition("|")
        return datetime.fromisoformat(moment), uuid.UUID(key)
    except ValueError as error:
        raise Problem(422, "bad_cursor", "The cursor must be a `next_cursor` of this list.") from error
