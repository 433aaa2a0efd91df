"""From a claim to a task: the paths of what the stage reads, checked, and a directory of its own."""

import uuid
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact, StageInput
from app.datasets.sources import resolve_source
from app.datasets.tables import Dataset
from app.runs.tables import Run
from app.settings import Settings
from app.storage import Storage
from worker.config.pipeline import StageName
from worker.config.reasons import Reason
from worker.leases import Claim
from worker.protocol import Task
from worker.stages.contract import StageError


def prepare(session: Session, settings: Settings, claim: Claim, device: str) -> Task:
    """The child's task; `StageError` (source_missing, artifact_corrupt) where an input isn't there whole."""
    storage = Storage(settings.storage_root.absolute())
    workdir = storage.attempt(claim.stage_id, claim.attempt_no)
    return Task(
        stage=claim.name,
        config=dict(claim.config),
        inputs=_inputs(session, settings, storage, claim),
        workdir=workdir,
        resume_from=earlier_attempt(workdir),
        # Of the machine's GPUs the child sees the worker's only.
        device=device.partition(":")[0],
    )


def _inputs(session: Session, settings: Settings, storage: Storage, claim: Claim) -> dict[str, Path]:
    if claim.name in (StageName.ingest, StageName.ingest_voc):
        return {"source": _source(session, settings, claim.run_id)}
    rows = session.execute(
        select(StageInput.role, Artifact)
        .join(Artifact, Artifact.id == StageInput.artifact_id)
        .where(StageInput.stage_id == claim.stage_id)
    )
    return {role: _checked(storage, artifact) for role, artifact in rows}


def _source(session: Session, settings: Settings, run_id: uuid.UUID) -> Path:
    dataset = session.scalars(select(Dataset).join(Run, Run.dataset_id == Dataset.id).where(Run.id == run_id)).one()
    try:
        source = resolve_source(settings, dataset.source).absolute()
    except (ValueError, OSError) as error:
        raise StageError(Reason.source_missing, f"The dataset's source can't be read: {error}") from error
    if not source.exists():
        raise StageError(Reason.source_missing, f"The dataset's source {source} is gone.")
    return source


def _checked(storage: Storage, artifact: Artifact) -> Path:
    folder = storage.artifact(artifact.sha256)
    for file in artifact.files:
        path = folder / file["name"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            message = f"The {artifact.kind} artifact {artifact.id} is damaged: its file {file['name']} is gone or cut."
            raise StageError(Reason.artifact_corrupt, message)
    return folder


def earlier_attempt(workdir: Path) -> Path | None:
    """The newest earlier attempt's directory in which anything was saved."""
    return next(iter(earlier_attempts(workdir)), None)


def earlier_attempts(workdir: Path) -> list[Path]:
    """Directories of earlier attempts that hold anything, newest first."""
    if not workdir.parent.is_dir():
        return []
    earlier = [path for path in workdir.parent.iterdir() if path.name.isdigit() and int(path.name) < int(workdir.name)]
    return sorted((path for path in earlier if any(path.iterdir())), key=lambda path: int(path.name), reverse=True)
