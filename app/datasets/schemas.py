"""What the API says about datasets."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.datasets.sources import FolderSource, UploadSource
from app.datasets.tables import DatasetState, Layout
from app.names import Name


class DatasetCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    source: Annotated[FolderSource | UploadSource, Field(discriminator="kind")]
    layout: Layout = Field(Layout.images, description="voc: photographs with boxes and masks as PASCAL VOC has them")
    config: dict[str, Any] = Field(default={}, description="settings of the stage `ingest`, for `voc` of `ingest_voc`")


class DatasetOut(BaseModel):
    id: uuid.UUID
    name: str
    state: DatasetState
    reason: str | None
    detail: str | None
    source: dict[str, Any]
    layout: Layout
    config: dict[str, Any]
    run: uuid.UUID
    """The registration: follow, cancel or resume it like any run."""
    store: uuid.UUID | None
    """The artifact that registration made, an image store or an annotated store, once the dataset is ready."""
    summary: dict[str, Any]
    """Counts and facts of the store; empty until it is ready."""
    created_at: datetime


class ProblemFile(BaseModel):
    """An image that was left out, and why."""

    path: str
    reason: str
    detail: str | None = None
