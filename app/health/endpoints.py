from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel

from app.dependencies import CurrentSettings, Sessions
from app.health.checks import OK, check_parts
from app.health.prometheus import DatabaseCollector
from worker.config.presets import Preset, preset_config
from worker.config.run import PipelineConfig

router = APIRouter(tags=["service"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    status: Literal["ready", "not_ready"]
    checks: dict[str, str]
    """Part -> `ok`, or what is wrong with it."""


class Version(BaseModel):
    name: str = "passdown"
    version: str


class PresetOut(BaseModel):
    name: Preset
    config: PipelineConfig


class Presets(BaseModel):
    items: list[PresetOut]
    next_cursor: None = None


def _head(request: Request) -> str | None:
    head: str | None = request.app.state.head_revision
    return head


Head = Annotated[str | None, Depends(_head)]


@router.get("/healthz")
def read_health() -> Health:
    """The process answers; for container health checks."""
    return Health()


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def read_readiness(
    sessions: Sessions, settings: CurrentSettings, head: Annotated[str | None, Depends(_head)]
) -> Response:
    """A run would run: database, migrations, broker, scheduler and a worker are there. 503 otherwise."""
    checks = check_parts(sessions, settings, head)
    ready = all(found == OK for found in checks.values())
    body = Readiness(status="ready" if ready else "not_ready", checks=checks)
    return JSONResponse(body.model_dump(), status_code=200 if ready else 503)


@router.get("/version")
def read_version() -> Version:
    return Version(version=version("passdown"))


@router.get("/metrics", response_class=Response)
def read_service_metrics(sessions: Sessions, settings: CurrentSettings) -> Response:
    """For Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DatabaseCollector(sessions, settings))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/presets")
def list_presets() -> Presets:
    """The whole config each preset stands for."""
    return Presets(items=[PresetOut(name=preset, config=preset_config(preset)) for preset in Preset])
