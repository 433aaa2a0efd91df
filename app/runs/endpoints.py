from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from app.datasets.lookup import get_dataset
from app.dependencies import CurrentSettings, Db
from app.idempotency.service import Once
from app.pagination import Cursor, Limit, Page, newest_first
from app.runs import service
from app.runs.lookup import get_run, run_brief, run_out
from app.runs.schemas import RunBrief, RunCreate, RunOut
from app.runs.tables import Run, RunKind, RunState

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post("", status_code=202)
def create_run(body: RunCreate, session: Db, settings: CurrentSettings, once: Once, response: Response) -> RunOut:
    """Start the pipeline, or a part of it from existing artifacts."""
    run = once.answer(body, RunOut, lambda: run_out(session, service.create(session, settings, body)))
    response.headers["Location"] = f"/runs/{run.id}"
    return run


@router.get("")
def list_runs(
    session: Db,
    state: RunState | None = None,
    kind: Annotated[RunKind | None, Query(description="default: every kind, registrations and imports too")] = None,
    dataset: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[RunBrief]:
    query = select(Run)
    if state is not None:
        query = query.where(Run.state == state)
    if kind is not None:
        query = query.where(Run.kind == kind)
    if dataset is not None:
        query = query.where(Run.dataset_id == get_dataset(session, dataset).id)
    runs, next_cursor = newest_first(session, query, Run, limit, cursor)
    return Page(items=[run_brief(run) for run in runs], next_cursor=next_cursor)


@router.get("/{run}")
def read_run(run: str, session: Db) -> RunOut:
    return run_out(session, get_run(session, run))


@router.post("/{run}/cancel", status_code=202)
def cancel_run(run: str, session: Db) -> RunOut:
    """What waits is cancelled at once; what runs saves its state and stops."""
    return run_out(session, service.cancel(session, get_run(session, run).id))


@router.post("/{run}/resume", status_code=202)
def resume_run(run: str, session: Db) -> RunOut:
    """Go on with a failed or cancelled run; what succeeded is kept."""
    return run_out(session, service.resume(session, get_run(session, run).id))
