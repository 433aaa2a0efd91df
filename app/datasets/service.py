"""Datasets are registered by a run of one stage, and deleted softly."""

from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.artifacts.lookup import get_artifact
from app.artifacts.tables import Artifact
from app.datasets.schemas import DatasetCreate, DatasetOut
from app.datasets.sources import FolderSource, SourceRefused, UploadSource, resolve_source
from app.datasets.tables import Dataset, Layout
from app.problems import FieldError, Problem, invalid
from app.runs import service as runs
from app.runs.tables import TERMINAL, Run, RunKind
from app.settings import Settings
from worker.config.base import StageConfig
from worker.config.pipeline import ArtifactKind, StageName
from worker.config.run import CONFIG_CLASSES

REGISTERED_BY = {Layout.images: StageName.ingest, Layout.voc: StageName.ingest_voc}


def register(session: Session, settings: Settings, request: DatasetCreate) -> Dataset:
    """Check the source, store the dataset, start its run. 409 `name_taken`, 422 for a bad source or config."""
    stage = REGISTERED_BY[request.layout]
    config = _config(stage, request.config)
    source = _source(session, request.source)
    try:
        resolve_source(settings, source)
    except SourceRefused as refused:
        message = str(refused)
        raise Problem(422, refused.code, message, [FieldError(path="source", message=message)]) from refused
    settled = config.model_dump(mode="json")
    dataset = Dataset(name=request.name, source=source, layout=request.layout, config=settled)
    session.add(dataset)
    try:
        session.flush()
    except IntegrityError as error:
        raise Problem(409, "name_taken", f"There is a dataset named {request.name!r} already.") from error
    run = Run(kind=RunKind.ingest, dataset_id=dataset.id, config={stage: settled}, inputs={})
    runs.start(session, run, [runs.Job(stage, config)])
    return dataset


def delete(session: Session, dataset: Dataset) -> None:
    """409 `dataset_in_use` while a run that uses it isn't over."""
    session.refresh(dataset, with_for_update=True)
    using = select(Run.id).where(Run.dataset_id == dataset.id, Run.state.not_in(TERMINAL))
    if session.scalar(select(using.exists())):
        raise Problem(409, "dataset_in_use", f"The dataset {dataset.name!r} is used by a run that isn't over.")
    dataset.deleted_at = func.now()
    if dataset.store_id is not None:
        session.get_one(Artifact, dataset.store_id).deleted_at = func.now()


def dataset_out(session: Session, dataset: Dataset) -> DatasetOut:
    session.flush()
    registration = select(Run.id).where(Run.dataset_id == dataset.id, Run.kind == RunKind.ingest)
    store = session.get(Artifact, dataset.store_id) if dataset.store_id else None
    copied = {"id", "name", "state", "reason", "detail", "source", "layout", "config", "created_at"}
    return DatasetOut(
        **{name: getattr(dataset, name) for name in copied},
        run=session.scalars(registration).one(),
        store=dataset.store_id,
        summary=store.summary if store else {},
    )


def _config(stage: StageName, settings: dict[str, Any]) -> StageConfig:
    try:
        return CONFIG_CLASSES[stage].model_validate(settings)
    except ValidationError as error:
        raise invalid(error, below="config") from error


def _source(session: Session, source: FolderSource | UploadSource) -> dict[str, Any]:
    """As kept with the dataset: an upload's digest and file name too, so that workers need no further look."""
    if isinstance(source, FolderSource):
        return source.model_dump()
    upload = get_artifact(session, source.upload, ArtifactKind.upload)
    return {"kind": "upload", "upload": str(upload.id), "sha256": upload.sha256, "file": upload.files[0]["name"]}
