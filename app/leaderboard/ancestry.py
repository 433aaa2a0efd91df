"""What artifacts were made from, all the way back, in two queries however many there are."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact, StageInput
from app.runs.tables import Stage
from worker.config.pipeline import StageName


@dataclass(frozen=True)
class Ancestor:
    """An artifact, and how it was made."""

    artifact: Artifact
    stage: StageName | None = None
    """None for uploads."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The stage's."""
    run: uuid.UUID | None = None
    inputs: Mapping[str, uuid.UUID] = field(default_factory=dict)
    """Role -> artifact that the stage read."""


Ancestry = Mapping[uuid.UUID, Ancestor]


def ancestry(session: Session, artifacts: Collection[uuid.UUID]) -> Ancestry:
    """The artifacts and all their ancestors by id, deleted ones too."""
    line = select(Artifact.id, Artifact.stage_id).where(Artifact.id.in_(artifacts)).cte("line", recursive=True)
    parents = (
        select(Artifact.id, Artifact.stage_id)
        .join(StageInput, StageInput.artifact_id == Artifact.id)
        .join(line, StageInput.stage_id == line.c.stage_id)
    )
    line = line.union(parents)
    made = select(Artifact, Stage).join(line, line.c.id == Artifact.id).outerjoin(Stage, Stage.id == Artifact.stage_id)
    inputs = _inputs(session, select(StageInput).join(line, line.c.stage_id == StageInput.stage_id))
    return {artifact.id: _ancestor(artifact, stage, inputs) for artifact, stage in session.execute(made)}


def _inputs(session: Session, reads: Select[StageInput]) -> dict[uuid.UUID, dict[str, uuid.UUID]]:
    inputs: dict[uuid.UUID, dict[str, uuid.UUID]] = {}
    for read in session.scalars(reads):
        inputs.setdefault(read.stage_id, {})[read.role] = read.artifact_id
    return inputs


def _ancestor(artifact: Artifact, stage: Stage | None, inputs: Mapping[uuid.UUID, dict[str, uuid.UUID]]) -> Ancestor:
    if stage is None:
        return Ancestor(artifact)
    return Ancestor(artifact, StageName(stage.name), stage.config, stage.run_id, inputs.get(stage.id, {}))
