from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts import downloads
from app.artifacts.imports import import_checkpoint
from app.artifacts.lists import list_artifacts
from app.artifacts.lookup import get_artifact
from app.artifacts.schemas import ArtifactOut, CheckpointImport, CheckpointOut
from app.artifacts.tables import Artifact, StageInput
from app.dependencies import CurrentStorage, Db
from app.idempotency.service import Once
from app.pagination import Cursor, Limit, Page
from app.problems import Problem
from app.runs.lookup import run_out
from app.runs.schemas import RunOut
from app.runs.tables import Run, Stage
from worker.config.pipeline import ArtifactKind

router = APIRouter(prefix="/checkpoints", tags=["checkpoints"])

STATE_DICT = "state_dict"
TEACHER_FILE = "teacher.safetensors"


@router.post("", status_code=202)
def import_weights(body: CheckpointImport, session: Db, once: Once, response: Response) -> RunOut:
    """Take in uploaded weights as a teacher. The run says whether every layer found its weights."""
    run = once.answer(body, RunOut, lambda: run_out(session, import_checkpoint(session, body)))
    response.headers["Location"] = f"/runs/{run.id}"
    return run


@router.get("")
def list_checkpoints(session: Db, limit: Limit = 50, cursor: Cursor = None) -> Page[CheckpointOut]:
    checkpoints, next_cursor = list_artifacts(session, ArtifactKind.checkpoint, limit, cursor)
    return Page(items=[_checkpoint_out(session, one) for one in checkpoints], next_cursor=next_cursor)


@router.get("/{checkpoint}")
def read_checkpoint(checkpoint: str, session: Db) -> CheckpointOut:
    return _checkpoint_out(session, get_artifact(session, checkpoint, ArtifactKind.checkpoint))


@router.head("/{checkpoint}/download", include_in_schema=False)
@router.get("/{checkpoint}/download", response_class=Response)
def download_checkpoint(
    checkpoint: str, request: Request, session: Db, storage: CurrentStorage, format: str = "safetensors"
) -> Response:
    """`state_dict`: as trained, for `torch.load(weights_only=True)`. The others: as a run's `export` made them."""
    found = get_artifact(session, checkpoint, ArtifactKind.checkpoint)
    offers = _offers(session, found)
    if format not in offers:
        there = ", ".join(offers)
        raise Problem(404, "format_unavailable", f"There is no {format!r} of this checkpoint; there is: {there}.")
    artifact, name = offers[format]
    return downloads.send(request, storage, artifact, name)


def _checkpoint_out(session: Session, checkpoint: Artifact) -> CheckpointOut:
    facts = ArtifactOut.model_validate(checkpoint).model_dump()
    run = session.scalar(select(Run).join(Stage, Stage.run_id == Run.id).where(Stage.id == checkpoint.stage_id))
    made_by = {"run": run.id if run else None, "run_name": run.name if run else None}
    return CheckpointOut(**facts, **made_by, formats=list(_offers(session, checkpoint)))


def _offers(session: Session, checkpoint: Artifact) -> dict[str, tuple[Artifact, str]]:
    """Format -> the artifact and the file that hold the checkpoint's weights in it."""
    offers = {STATE_DICT: (checkpoint, "model.pt")}
    student, teacher = _exported(session, checkpoint, "student"), _exported(session, checkpoint, "teacher")
    if student is not None:
        offers |= {name: (student, downloads.WEIGHT_FILES[name]) for name in downloads.weight_formats(student)}
    elif teacher is not None and any(file["name"] == TEACHER_FILE for file in teacher.files):
        offers["safetensors"] = (teacher, TEACHER_FILE)
    return offers


def _exported(session: Session, checkpoint: Artifact, role: str) -> Artifact | None:
    """The newest weights that an export made of the checkpoint in that role."""
    return session.scalars(
        select(Artifact)
        .join(StageInput, StageInput.stage_id == Artifact.stage_id)
        .where(Artifact.kind == ArtifactKind.weights, Artifact.deleted_at.is_(None))
        .where(StageInput.role == role, StageInput.artifact_id == checkpoint.id)
        .order_by(Artifact.created_at.desc())
        .limit(1)
    ).one_or_none()
