"""What the API says about artifacts."""

import uuid
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.names import Name
from worker.config.export import ImportWeightsConfig
from worker.config.label import ImportLabelsConfig
from worker.config.pipeline import ArtifactKind


class FileOut(BaseModel):
    name: str
    bytes: int
    sha256: str


class ArtifactBrief(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    name: str | None
    kind: ArtifactKind
    role: str
    sha256: str
    bytes: int
    summary: dict[str, Any]
    created_at: datetime


class ArtifactOut(ArtifactBrief):
    files: list[FileOut]
    stage_id: uuid.UUID | None
    attempt_no: int | None


class StageRef(BaseModel):
    """A stage in a lineage."""

    run: uuid.UUID
    stage: str
    config: dict[str, Any]


class LineageNode(BaseModel):
    """An artifact, the stage that made it, and what that stage read."""

    artifact: ArtifactBrief
    made_by: StageRef | None
    inputs: dict[str, uuid.UUID]
    """Role -> artifact; each of them is a node of the lineage too."""


class Lineage(BaseModel):
    nodes: list[LineageNode]
    """The artifact asked for first, then its ancestors, nearest first."""
    used_by: list[StageRef]
    """Stages that read the artifact."""


class UploadOut(BaseModel):
    id: uuid.UUID
    file: str
    sha256: str
    """Of the file."""
    bytes: int


class CheckpointOut(ArtifactOut):
    run: uuid.UUID | None
    """The run that made it."""
    run_name: str | None
    formats: list[str]
    """What `download` offers."""


class CheckpointImport(ImportWeightsConfig):
    """The user's own teacher weights, uploaded before."""

    name: Name
    upload: str = Field(description="id of the upload")


class ClusteringOut(ArtifactOut):
    label_sets: list[uuid.UUID]
    """Pseudo-label sets made with these centroids, newest first."""


class MemberOut(BaseModel):
    index: int
    path: str
    distance: float | None
    image: str | None
    """Where the image can be seen (PNG)."""


class ClusterOut(BaseModel):
    cluster: int
    label_set: uuid.UUID
    size: int
    nearest: list[MemberOut]
    farthest: list[MemberOut]


class LabelSetImport(ImportLabelsConfig):
    """The user's own pseudo-labels for a dataset, uploaded before (CSV or Parquet: `path`, `label`)."""

    name: Name
    dataset: str
    upload: str = Field(description="id of the upload")


class FilesOut(BaseModel):
    artifact: uuid.UUID
    files: list[FileOut]
