"""The files a run was made for."""

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from app.artifacts import downloads
from app.artifacts.schemas import FileOut, FilesOut
from app.artifacts.tables import Artifact
from app.dependencies import CurrentStorage, Db
from app.problems import Problem
from app.runs.lookup import artifacts_of, get_run
from worker.config.pipeline import ArtifactKind

router = APIRouter(prefix="/runs/{run}", tags=["results"])


@router.head("/weights", include_in_schema=False)
@router.get("/weights", response_class=Response)
def download_weights(
    run: str, request: Request, session: Db, storage: CurrentStorage, format: str = "safetensors"
) -> Response:
    """The distilled AlexNet: `safetensors`, `onnx`, `pt2`, `torchvision` where it fits, or its `model_card`."""
    return downloads.send_format(request, storage, _result(session, run, ArtifactKind.weights), format)


@router.get("/report")
def list_report_files(run: str, session: Db) -> FilesOut:
    report = _result(session, run, ArtifactKind.report)
    return FilesOut(artifact=report.id, files=[FileOut(**file) for file in report.files])


@router.head("/report/{name}", include_in_schema=False)
@router.get("/report/{name}", response_class=Response)
def download_report_file(run: str, name: str, request: Request, session: Db, storage: CurrentStorage) -> Response:
    return downloads.send(request, storage, _result(session, run, ArtifactKind.report), name)


def _result(session: Session, ref: str, kind: ArtifactKind) -> Artifact:
    run = get_run(session, ref)
    for artifact in artifacts_of(session, run.id):
        if artifact.kind == kind:
            return artifact
    raise Problem(404, f"{kind}_not_found", f"The run has no {kind}; it is {run.state}.")
