"""What the API says about runs."""

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.artifacts.schemas import ArtifactBrief
from app.names import Name
from app.runs.tables import RunKind, RunState, StageState
from worker.config.methods import Method
from worker.config.pipeline import StageName
from worker.config.presets import Preset

Device = Literal["any", "cpu", "cuda"]


class RunCreate(BaseModel):
    """The whole pipeline, or the part of it that is left when `inputs` are given."""

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = Field(None, description="name or id; optional where no stage reads images")
    method: Method = Field(
        Method.cc, description="which stages make the student; for its settings see `preset` and `config`"
    )
    preset: Preset = Preset.small
    config: dict[str, Any] = Field(default={}, description="overrides by stage, e.g. {'cluster': {'k': 100}}")
    stages: list[StageName] | None = Field(None, description="default: all of the method's that its final results need")
    inputs: dict[str, str] = Field(default={}, description="role -> artifact, by name or id")
    device: Device = "any"
    name: Name | None = None

    @field_validator("config")
    @classmethod
    def _one_k(cls, config: dict[str, Any]) -> dict[str, Any]:
        cluster = config.get("cluster")
        if isinstance(cluster, dict) and isinstance(cluster.get("k"), list):
            raise ValueError(
                "a run has one k: POST /sweeps asks for several at once, and shares what they have in common"
            )
        return config


class Progress(BaseModel):
    done: int
    total: int
    unit: str | None


class StageOut(BaseModel):
    id: uuid.UUID
    name: StageName
    state: StageState
    reason: str | None
    detail: str | None
    progress: Progress
    eta_seconds: float | None
    attempt_no: int
    failure_count: int
    max_attempts: int
    reused_stage_id: uuid.UUID | None
    config: dict[str, Any]
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class RunBrief(BaseModel):
    """A run in a list."""

    id: uuid.UUID
    kind: RunKind
    name: str | None
    state: RunState
    reason: str | None
    detail: str | None
    dataset: str | None
    """The dataset's id."""
    method: Method | None
    """Of a pipeline run."""
    preset: str | None
    device: Device
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RunOut(RunBrief):
    inputs: dict[str, str]
    stages: list[StageOut]
    artifacts: list[ArtifactBrief]
