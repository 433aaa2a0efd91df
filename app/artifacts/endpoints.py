from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from app.artifacts import downloads, images
from app.artifacts.lineage import lineage
from app.artifacts.lists import list_artifacts
from app.artifacts.lookup import get_artifact
from app.artifacts.schemas import ArtifactBrief, ArtifactOut, Lineage, UploadOut
from app.artifacts.uploads import receive, register_upload
from app.dependencies import CurrentSettings, CurrentStorage, Db, Sessions
from app.pagination import Cursor, Limit, Page
from app.problems import Problem
from worker.config.pipeline import ArtifactKind

router = APIRouter(tags=["artifacts"])


@router.post(
    "/uploads",
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
)
async def upload_file(
    request: Request,
    settings: CurrentSettings,
    storage: CurrentStorage,
    sessions: Sessions,
    filename: Annotated[str, Query(description="a plain file name, e.g. cells.zip")],
    sha256: Annotated[str | None, Query(pattern="^[0-9a-fA-F]{64}$", description="refused if it differs")] = None,
) -> UploadOut:
    """Store a file for a later request; its raw bytes are the body (`curl -T cells.zip`)."""
    stored = await receive(request, storage, filename, sha256, settings.max_upload_bytes)
    return await run_in_threadpool(register_upload, sessions, stored)


@router.get("/artifacts")
def list_all_artifacts(
    session: Db, kind: ArtifactKind | None = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[ArtifactBrief]:
    artifacts, next_cursor = list_artifacts(session, kind, limit, cursor)
    return Page(items=[ArtifactBrief.model_validate(one) for one in artifacts], next_cursor=next_cursor)


@router.get("/artifacts/{artifact}")
def read_artifact(artifact: str, session: Db) -> ArtifactOut:
    return ArtifactOut.model_validate(get_artifact(session, artifact))


@router.get("/artifacts/{artifact}/lineage")
def read_lineage(artifact: str, session: Db) -> Lineage:
    """Everything it was made from, and who used it."""
    return lineage(session, get_artifact(session, artifact))


@router.head("/artifacts/{artifact}/files/{name}", include_in_schema=False)
@router.get("/artifacts/{artifact}/files/{name}", response_class=Response)
def download_artifact_file(
    artifact: str, name: str, request: Request, session: Db, storage: CurrentStorage
) -> Response:
    return downloads.send(request, storage, get_artifact(session, artifact), name)


@router.get("/artifacts/{artifact}/images/{index}", response_class=Response)
def read_image(artifact: str, index: int, session: Db, storage: CurrentStorage) -> Response:
    """One image of an image store, as stored, as PNG."""
    store = get_artifact(session, artifact, ArtifactKind.image_store)
    if not 0 <= index < store.summary["count"]:
        raise Problem(404, "image_not_found", f"The store has {store.summary['count']} images, counted from 0.")
    png = images.read_png(storage.artifact(store.sha256), store.summary["side"], index)
    return Response(png, media_type="image/png", headers={"ETag": f'"{store.sha256}-{index}"'})
