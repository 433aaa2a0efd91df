"""The API's reference: Swagger UI, every part of it from this host, so that it shows where there is no internet."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may load for it: this host's files."""

FOLDER = Path(__file__).parent

router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    app.include_router(router)
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_offline", "static")]))


@router.get("/")
def lead_to_reference() -> RedirectResponse:
    return RedirectResponse("docs")


@router.get("/docs")
def show_reference() -> FileResponse:
    return FileResponse(FOLDER / "page.html", headers={"Content-Security-Policy": POLICY})


@router.get("/docs/start.js")
def start_reference() -> FileResponse:
    return FileResponse(FOLDER / "start.js")
