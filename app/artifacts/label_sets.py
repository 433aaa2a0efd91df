from collections.abc import Callable
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from app.artifacts.imports import import_labels
from app.artifacts.label_files import LabelFiles
from app.artifacts.lists import list_artifacts
from app.artifacts.lookup import get_artifact
from app.artifacts.schemas import ArtifactOut, LabelSetImport
from app.artifacts.tables import Artifact
from app.dependencies import CurrentStorage, Db
from app.idempotency.service import Once
from app.pagination import Cursor, Limit, Page
from app.runs.lookup import run_out
from app.runs.schemas import RunOut
from app.storage import Storage
from worker.config.pipeline import ArtifactKind

router = APIRouter(prefix="/pseudo-label-sets", tags=["pseudo-label sets"])

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


@router.post("", status_code=202)
def import_label_set(body: LabelSetImport, session: Db, once: Once, response: Response) -> RunOut:
    """Take in uploaded pseudo-labels of a dataset."""
    run = once.answer(body, RunOut, lambda: run_out(session, import_labels(session, body)))
    response.headers["Location"] = f"/runs/{run.id}"
    return run


@router.get("")
def list_label_sets(session: Db, limit: Limit = 50, cursor: Cursor = None) -> Page[ArtifactOut]:
    label_sets, next_cursor = list_artifacts(session, ArtifactKind.pseudo_label_set, limit, cursor)
    return Page(items=[ArtifactOut.model_validate(one) for one in label_sets], next_cursor=next_cursor)


@router.get("/{label_set}")
def read_label_set(label_set: str, session: Db) -> ArtifactOut:
    return ArtifactOut.model_validate(get_artifact(session, label_set, ArtifactKind.pseudo_label_set))


@router.head("/{label_set}/download", include_in_schema=False)
@router.get("/{label_set}/download", response_class=Response)
def download_labels(
    label_set: str, session: Db, storage: CurrentStorage, format: Literal["csv", "parquet"] = "parquet"
) -> Response:
    """The labels as a table: `path, label, distance`, a row per labelled image."""
    return _table(storage, get_artifact(session, label_set, ArtifactKind.pseudo_label_set), format)


def _table(storage: Storage, labels: Artifact, file_format: Literal["csv", "parquet"]) -> Response:
    """Written anew for each download, always to the same bytes, so that ranges fit together."""
    files = LabelFiles(storage.artifact(labels.sha256))
    write: Callable[[Path], None] = files.write_csv if file_format == "csv" else files.write_parquet
    path = storage.incoming()
    try:
        write(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return FileResponse(
        path,
        filename=f"pseudo_labels.{file_format}",
        media_type=MEDIA_TYPES[file_format],
        headers={"ETag": f'"{labels.sha256}.{file_format}"'},
        background=BackgroundTask(path.unlink, missing_ok=True),
    )
