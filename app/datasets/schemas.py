"""What the API says about datasets."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.datasets.sources import FolderSource, UploadSource
from app.datasets.tables import DatasetState
from app.names import Name
from worker.config.ingest import IngestConfig


class DatasetCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    source: Annotated[FolderSource | UploadSource, Field(discriminator="kind")]
    config: IngestConfig = IngestConfig()


class DatasetOut(BaseModel):
    id: uuid.UUID
    name: str
    state: DatasetState
    reason: str | None
    detail: str | None
    source: dict[str, Any]
    config: dict[str, Any]
    run: uuid.UUID
    """The registration: follow, cancel or resume it like any run."""
    store: uuid.UUID | None
    """The image store's artifact, once the dataset is ready."""
    summary: dict[str, Any]
    """Counts, side, labels of the image store; empty until it is ready."""
    created_at: datetime


class ProblemFile(BaseModel):
    """An image that was left out, and why."""

    path: str
    reason: str
    detail: str | None = None
