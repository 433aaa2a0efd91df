"""All tables in one import, for Alembic and for `Base.metadata`."""

from app.artifacts.tables import Artifact, StageInput, StageOutput
from app.datasets.tables import Dataset
from app.db.base import Base
from app.idempotency.tables import IdempotencyKey
from app.journal.tables import Event, LogLine, Metric
from app.outbox.tables import Doorbell
from app.runs.tables import Attempt, Run, Stage, StageDependency
from app.workers.tables import Worker

__all__ = [
    "Artifact",
    "Attempt",
    "Base",
    "Dataset",
    "Doorbell",
    "Event",
    "IdempotencyKey",
    "LogLine",
    "Metric",
    "Run",
    "Stage",
    "StageDependency",
    "StageInput",
    "StageOutput",
    "Worker",
]
