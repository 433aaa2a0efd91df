"""What can be asked of a checkpoint, and what the API says about its evaluations."""

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.artifacts.schemas import Lineage
from app.runs.schemas import Device, RunOut
from worker.config.pipeline import StageName
from worker.config.probe import AnyProbe
from worker.config.scores import ScoreSheet
from worker.config.transfer import AnyTransfer

AnyProtocol = Annotated[AnyProbe | AnyTransfer, Field(discriminator="protocol")]


class EvaluationCreate(BaseModel):
    """Judge one checkpoint on one dataset by one or more protocols, each a run of its own."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: str = Field(description="the checkpoint's artifact, by name or id")
    dataset: str = Field(description="name or id; a dataset that is still being registered is waited for")
    protocols: list[AnyProtocol] = Field(
        min_length=1, max_length=50, description='e.g. `[{"protocol": "linear", "epochs": 30}]`; the rest has defaults'
    )
    device: Device = "any"


class EvaluationRuns(BaseModel):
    runs: list[RunOut]
    """One for each protocol, in the order they were asked for."""


class EvaluationOut(BaseModel):
    id: uuid.UUID
    created_at: datetime
    sheet: ScoreSheet
    run: uuid.UUID
    """The run that measured it; later runs that ask for the same work are given this evaluation."""
    stage: StageName
    checkpoint: uuid.UUID
    """The judged checkpoint's artifact."""
    dataset: str | None
    """Name of the dataset that was judged on; null once it is deleted."""
    links: dict[str, str]
    """Paths of the API: `evaluation`, `artifact`, `run`, `checkpoint`, `dataset`, `lineage`."""


class EvaluationDetail(EvaluationOut):
    lineage: Lineage
    """The evaluation, the checkpoint, whatever that was made from up to the teacher and the images, and every stage's
    config."""
