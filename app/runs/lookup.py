"""Runs by id or name, and what the API says about them."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts.schemas import ArtifactBrief
from app.artifacts.tables import Artifact, StageOutput
from app.names import as_id
from app.problems import not_found
from app.runs.schemas import Progress, RunBrief, RunOut, StageOut
from app.runs.tables import Run, Stage


def get_run(session: Session, ref: str) -> Run:
    """The run; 404 where there is none."""
    key = as_id(ref)
    run = session.scalars(select(Run).where(Run.name == ref if key is None else Run.id == key)).one_or_none()
    if run is None:
        raise not_found("run", ref)
    return run


def artifacts_of(session: Session, run_id: uuid.UUID) -> Sequence[Artifact]:
    """What the run's stages gave, reused results included, in the order of the stages."""
    return session.scalars(
        select(Artifact)
        .join(StageOutput, StageOutput.artifact_id == Artifact.id)
        .join(Stage, Stage.id == StageOutput.stage_id)
        .where(Stage.run_id == run_id, Artifact.deleted_at.is_(None))
        .order_by(Stage.position, StageOutput.role)
    ).all()


def run_brief(run: Run) -> RunBrief:
    return RunBrief.model_validate(_facts(run))


def run_out(session: Session, run: Run) -> RunOut:
    session.flush()
    stages = session.scalars(select(Stage).where(Stage.run_id == run.id).order_by(Stage.position))
    return RunOut(
        **_facts(run),
        inputs=run.inputs,
        stages=[_stage_out(stage) for stage in stages],
        artifacts=[ArtifactBrief.model_validate(artifact) for artifact in artifacts_of(session, run.id)],
    )


def _facts(run: Run) -> dict[str, Any]:
    names = set(RunBrief.model_fields) - {"dataset"}
    facts = {name: getattr(run, name) for name in names}
    return {**facts, "dataset": None if run.dataset_id is None else str(run.dataset_id)}


def _stage_out(stage: Stage) -> StageOut:
    names = set(StageOut.model_fields) - {"progress"}
    progress = Progress(done=stage.progress_done, total=stage.progress_total, unit=stage.progress_unit)
    return StageOut(**{name: getattr(stage, name) for name in names}, progress=progress)
