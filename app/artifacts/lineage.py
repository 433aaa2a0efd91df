"""Where an artifact comes from, and what was made of it."""

import uuid
from collections import deque

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts.schemas import ArtifactBrief, Lineage, LineageNode, StageRef
from app.artifacts.tables import Artifact, StageInput
from app.runs.tables import Stage


def lineage(session: Session, artifact: Artifact) -> Lineage:
    """All ancestors, breadth first; deleted ones are still named."""
    nodes: dict[uuid.UUID, LineageNode] = {}
    waiting = deque([artifact])
    while waiting:
        node = _node(session, waiting.popleft())
        if node.artifact.id not in nodes:
            nodes[node.artifact.id] = node
            waiting += [session.get_one(Artifact, key) for key in node.inputs.values()]
    readers = select(Stage).join(StageInput, StageInput.stage_id == Stage.id)
    used_by = session.scalars(readers.where(StageInput.artifact_id == artifact.id).order_by(Stage.finished_at))
    return Lineage(nodes=list(nodes.values()), used_by=[_stage_ref(stage) for stage in used_by])


def _node(session: Session, artifact: Artifact) -> LineageNode:
    stage = session.get(Stage, artifact.stage_id) if artifact.stage_id else None
    reads = session.scalars(select(StageInput).where(StageInput.stage_id == artifact.stage_id))
    return LineageNode(
        artifact=ArtifactBrief.model_validate(artifact),
        made_by=_stage_ref(stage) if stage else None,
        inputs={read.role: read.artifact_id for read in reads},
    )


def _stage_ref(stage: Stage) -> StageRef:
    return StageRef(run=stage.run_id, stage=stage.name, config=stage.config)
