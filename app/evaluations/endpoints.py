from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import select

from app.artifacts.lookup import get_artifact
from app.artifacts.tables import Artifact, StageInput
from app.dependencies import CurrentSettings, CurrentStorage, Db
from app.evaluations import service
from app.evaluations.lookup import evaluation_detail, evaluations, evaluations_out, get_evaluation
from app.evaluations.schemas import EvaluationCreate, EvaluationDetail, EvaluationOut, EvaluationRuns
from app.idempotency.service import Once
from app.leaderboard.comparison import compare
from app.leaderboard.formats import MEDIA_TYPES, chosen_format
from app.leaderboard.markdown import comparison_markdown
from app.leaderboard.schemas import Comparison
from app.pagination import Cursor, Limit, Page, newest_first
from app.runs.lookup import run_out
from worker.config.pipeline import ArtifactKind
from worker.config.scores import ProtocolName

router = APIRouter(prefix="/evaluations", tags=["evaluations"])


@router.post("", status_code=202)
def create_evaluations(
    body: EvaluationCreate, session: Db, settings: CurrentSettings, once: Once, response: Response
) -> EvaluationRuns:
    """Judge a checkpoint: our own, an imported one, a random one. One run starts for each protocol."""

    def make() -> EvaluationRuns:
        started = service.create(session, settings, body)
        return EvaluationRuns(runs=[run_out(session, run) for run in started])

    answer = once.answer(body, EvaluationRuns, make)
    response.headers["Location"] = f"/evaluations?checkpoint={answer.runs[0].inputs['checkpoint']}"
    return answer


@router.get("")
def list_evaluations(
    session: Db,
    checkpoint: Annotated[str | None, Query(description="the judged checkpoint, by name or id")] = None,
    protocol: ProtocolName | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[EvaluationOut]:
    """Finished evaluations, the newest first."""
    query = evaluations()
    if checkpoint is not None:
        judged = get_artifact(session, checkpoint, ArtifactKind.checkpoint)
        reads = select(StageInput.stage_id).where(StageInput.role == "checkpoint", StageInput.artifact_id == judged.id)
        query = query.where(Artifact.stage_id.in_(reads))
    if protocol is not None:
        query = query.where(Artifact.summary["protocol"].astext == protocol)
    found, next_cursor = newest_first(session, query, Artifact, limit, cursor)
    return Page(items=evaluations_out(session, found), next_cursor=next_cursor)


@router.get(
    "/compare",
    response_model=Comparison,
    responses={200: {"content": {MEDIA_TYPES["md"]: {"schema": {"type": "string"}}}}},
)
def compare_evaluations(
    request: Request,
    session: Db,
    storage: CurrentStorage,
    first: Annotated[str, Query(description="id of an evaluation")],
    second: Annotated[str, Query(description="id of another, by the same protocol over the same images")],
    format: Annotated[
        Literal["json", "md"] | None, Query(description="default: by the Accept header, else json")
    ] = None,
) -> Response | Comparison:
    """Two checkpoints judged on the same images, image by image: wins, losses, interval of the difference, p-value."""
    found = compare(session, storage, get_evaluation(session, first), get_evaluation(session, second))
    if chosen_format(request, format, ("json", "md")) == "json":
        return found
    text = comparison_markdown(found, str(request.base_url))
    return PlainTextResponse(text, headers={"Vary": "Accept"}, media_type=MEDIA_TYPES["md"])


@router.get("/{evaluation}")
def read_evaluation(evaluation: str, session: Db) -> EvaluationDetail:
    """All its numbers with their intervals, and where they come from: config, checkpoint, dataset, lineage."""
    return evaluation_detail(session, get_evaluation(session, evaluation))
