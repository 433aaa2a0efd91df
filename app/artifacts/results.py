"""The files a run was made for."""

from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts import downloads
from app.artifacts.schemas import FileOut, FilesOut
from app.artifacts.tables import Artifact
from app.dependencies import CurrentStorage, Db
from app.problems import Problem
from app.runs.lookup import artifacts_of, get_run
from app.runs.tables import Run, Stage, StageState
from worker.config.pipeline import ArtifactKind, StageName

router = APIRouter(prefix="/runs/{run}", tags=["results"])

PREVIEW_FILE = "preview.png"


@router.head("/weights", include_in_schema=False)
@router.get("/weights", response_class=Response)
def download_weights(
    run: str, request: Request, session: Db, storage: CurrentStorage, format: str = "safetensors"
) -> Response:
    """The distilled AlexNet: `safetensors`, `onnx`, `pt2`, `torchvision` where it fits, or its `model_card`."""
    return downloads.send_format(request, storage, _result(session, run, ArtifactKind.weights), format)


@router.head("/preview", include_in_schema=False)
@router.get("/preview", response_class=Response)
def read_preview(run: str, request: Request, session: Db, storage: CurrentStorage) -> Response:
    """Examples of the run's pretext task as one PNG, from the moment its `pretrain` stage has ended."""
    found = get_run(session, run)
    for artifact in artifacts_of(session, found.id):
        if artifact.role == "teacher" and any(file["name"] == PREVIEW_FILE for file in artifact.files):
            return downloads.show(request, storage, artifact, PREVIEW_FILE, "image/png")
    raise Problem(404, "preview_not_found", f"{_why_no_preview(session, found)} The run is {found.state}.")


@router.get("/report")
def list_report_files(run: str, session: Db) -> FilesOut:
    report = _result(session, run, ArtifactKind.report)
    return FilesOut(artifact=report.id, files=[FileOut(**file) for file in report.files])


@router.head("/report/{name}", include_in_schema=False)
@router.get("/report/{name}", response_class=Response)
def download_report_file(run: str, name: str, request: Request, session: Db, storage: CurrentStorage) -> Response:
    return downloads.send(request, storage, _result(session, run, ArtifactKind.report), name)


def _why_no_preview(session: Session, run: Run) -> str:
    state = session.scalars(
        select(Stage.state).where(Stage.run_id == run.id, Stage.name == StageName.pretrain)
    ).one_or_none()
    if state is None:
        return "The run has no preview: it trains on no pretext task."
    if state == StageState.succeeded:
        return "The run has no preview: its teacher was trained before previews were made."
    return f"The run has no preview yet: it comes when the stage `pretrain` has succeeded, which is {state}."


def _result(session: Session, ref: str, kind: ArtifactKind) -> Artifact:
    run = get_run(session, ref)
    for artifact in artifacts_of(session, run.id):
        if artifact.kind == kind:
            return artifact
    raise Problem(404, f"{kind}_not_found", f"The run has no {kind}; it is {run.state}.")
