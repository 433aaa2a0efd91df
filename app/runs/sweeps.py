"""The same run with several numbers of clusters (Table 1 of the paper), asked for at once.

Nothing ties the runs together: what is equal in them (the teacher, its features) is done once, as equal work always is.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy.orm import Session

from app.dependencies import CurrentSettings, Db
from app.idempotency.service import Once
from app.problems import FieldError, Problem, invalid
from app.runs import service
from app.runs.lookup import run_out
from app.runs.schemas import RunCreate, RunOut
from app.runs.tables import Run
from app.settings import Settings
from worker.config.pipeline import StageName

router = APIRouter(prefix="/sweeps", tags=["runs"])

MOST_RUNS = 50


class SweepCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: RunCreate
    k: list[Annotated[int, Field(ge=2)]] = Field(
        min_length=1, max_length=MOST_RUNS, description="a run for each number of clusters; its name gets it too"
    )

    @field_validator("k")
    @classmethod
    def _all_different(cls, k: list[int]) -> list[int]:
        if len(set(k)) != len(k):
            raise ValueError("each k is asked for once")
        return k


class SweepOut(BaseModel):
    runs: list[RunOut]
    """In the order of `k`."""


@router.post("", status_code=202)
def create_sweep(body: SweepCreate, session: Db, settings: CurrentSettings, once: Once) -> SweepOut:
    """Start a run for each k; pretraining and features are made once and shared."""

    def make() -> SweepOut:
        return SweepOut(runs=[run_out(session, run) for run in create(session, settings, body)])

    return once.answer(body, SweepOut, make)


def create(session: Session, settings: Settings, request: SweepCreate) -> list[Run]:
    """All of the runs, or none. Raises Problem as `service.create` does, with paths below `run`."""
    try:
        return [_create(session, settings, _with_k(request.run, k)) for k in request.k]
    except Problem as refused:
        body = refused.body
        errors = [FieldError(path=f"run.{error.path}", message=error.message) for error in body.errors]
        raise Problem(body.status, body.code, body.detail, errors) from refused


def _create(session: Session, settings: Settings, request: RunCreate) -> Run:
    run = service.create(session, settings, request)
    stages = {stage.name for stage in run_out(session, run).stages}
    if StageName.cluster not in stages:
        message = "No stage of this run clusters, so it has no k to vary."
        raise Problem(422, "nothing_to_sweep", message, [FieldError(path="stages", message=message)])
    return run


def _with_k(request: RunCreate, k: int) -> RunCreate:
    given = request.model_dump()
    config: dict[str, Any] = given["config"]
    clustering = config.get("cluster", {})
    if not isinstance(clustering, dict):
        return request  # refused by name when the run is made
    given["config"] = {**config, "cluster": {**clustering, "k": k}}
    given["name"] = None if request.name is None else f"{request.name}-k{k}"
    try:
        return RunCreate.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from error
