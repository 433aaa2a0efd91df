"""The web service: `uvicorn --factory app.main:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app import problems
from app.artifacts import checkpoints, clusterings, label_sets, results
from app.artifacts import endpoints as artifacts
from app.datasets import endpoints as datasets
from app.db.migrate import head_revision
from app.db.session import make_engine, make_sessions
from app.evaluations import endpoints as evaluations
from app.health import endpoints as health
from app.journal import endpoints as journal
from app.leaderboard import endpoints as leaderboard
from app.middleware import BodyLimit, SecurityHeaders
from app.reference import endpoints as reference
from app.runs import endpoints as runs
from app.runs import sweeps
from app.settings import Settings, get_settings

MODULES = (
    datasets,
    runs,
    sweeps,
    journal,
    results,
    checkpoints,
    clusterings,
    label_sets,
    evaluations,
    leaderboard,
    artifacts,
    health,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or get_settings()
    app = FastAPI(
        title="Passdown",
        description="Turns a folder of unlabelled images into a small, good vision backbone.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        responses=problems.problem_responses(),
    )
    engine = make_engine(settings)
    app.state.settings = settings
    app.state.engine = engine
    app.state.sessions = make_sessions(engine)
    app.state.head_revision = head_revision()
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(SecurityHeaders)
    problems.install(app)
    for module in MODULES:
        app.include_router(module.router)
    reference.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.engine.dispose()


def _operation_id(route: APIRoute) -> str:
    return route.name
