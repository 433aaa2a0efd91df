import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.dependencies import Db, Sessions
from app.journal.logs import log_text, read_logs
from app.journal.metrics import read_metrics
from app.journal.schemas import LogOut, Metrics
from app.journal.stream import follow
from app.pagination import Page
from app.runs.lookup import get_run

router = APIRouter(prefix="/runs/{run}", tags=["journal"])


def _run_id(run: str, session: Db) -> uuid.UUID:
    """Looked up before the answer begins, so that an unknown run is a 404 and not an empty stream."""
    return get_run(session, run).id


RunId = Annotated[uuid.UUID, Depends(_run_id, scope="function")]


@router.get("/events", response_class=EventSourceResponse)
async def stream_events(
    run_id: RunId,
    sessions: Sessions,
    last_event_id: Annotated[int, Header(ge=0, description="go on after this event")] = 0,
    after: Annotated[int, Query(ge=0, description="the same, for clients that can't set headers")] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """What happens in the run, as server-sent events; ends with the run."""
    async for event in follow(sessions, run_id, max(last_event_id, after)):
        yield ServerSentEvent(id=str(event.seq), event=event.type, data=event)


@router.get(
    "/logs", response_model=Page[LogOut], responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
def read_run_logs(
    run_id: RunId,
    session: Db,
    sessions: Sessions,
    stage: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    cursor: Annotated[int, Query(ge=0, description="`next_cursor`, or the id of the last line known")] = 0,
    format: Literal["json", "text"] | None = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Page[LogOut] | Response:
    """Oldest first; everything at once as plain text with `?format=text` or `Accept: text/plain`."""
    if format == "text" or (format is None and accept.startswith("text/plain")):
        return StreamingResponse(log_text(sessions, run_id, stage), media_type="text/plain")
    lines = read_logs(session, run_id, stage, cursor, limit + 1)
    more = len(lines) > limit
    page = [LogOut.model_validate(line) for line in lines[:limit]]
    return Page(items=page, next_cursor=str(page[-1].id) if more else None)


@router.get("/metrics")
def read_run_metrics(
    run_id: RunId,
    session: Db,
    stage: str | None = None,
    name: str | None = None,
    points: Annotated[int, Query(ge=2, le=10_000, description="per curve at most")] = 500,
) -> Metrics:
    """The curves of the run's stages: losses, accuracies, images per second."""
    return Metrics(series=read_metrics(session, run_id, stage, name, points))
