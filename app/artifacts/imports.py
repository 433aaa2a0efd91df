"""The user's own weights and labels: each import is a run of one stage, so that a bad file fails with a reason."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.artifacts.lookup import get_artifact
from app.artifacts.schemas import CheckpointImport, LabelSetImport
from app.artifacts.tables import Artifact
from app.datasets.lookup import check_holds_images, hold_dataset
from app.problems import Problem
from app.runs import service
from app.runs.tables import TERMINAL, Run, RunKind
from worker.config.export import ImportWeightsConfig
from worker.config.label import ImportLabelsConfig
from worker.config.pipeline import ArtifactKind, StageName


def import_checkpoint(session: Session, request: CheckpointImport) -> Run:
    config = ImportWeightsConfig.model_validate(request.model_dump(exclude={"name", "upload"}))
    run = _run(session, RunKind.import_weights, request.name, request.upload)
    return service.start(session, run, [service.Job(StageName.import_weights, config)])


def import_labels(session: Session, request: LabelSetImport) -> Run:
    config = ImportLabelsConfig.model_validate(request.model_dump(exclude={"name", "dataset", "upload"}))
    dataset = hold_dataset(session, request.dataset)
    service.check_usable(dataset)
    check_holds_images(dataset)
    run = _run(session, RunKind.import_labels, request.name, request.upload)
    run.dataset_id = dataset.id
    return service.start(session, run, [service.Job(StageName.import_labels, config, reads_store=True)])


def _run(session: Session, kind: RunKind, name: str, upload: str) -> Run:
    """The artifact gets `name` when the run succeeds (`app.runs.advance`); 409 where it is taken or about to be."""
    importing = select(Run.id).where(Run.config["name"].astext == name, Run.state.not_in(TERMINAL))
    if session.scalar(select(exists().where(Artifact.name == name))) or session.scalar(select(importing.exists())):
        raise Problem(409, "name_taken", f"There is an artifact named {name!r} already.")
    artifact = get_artifact(session, upload, ArtifactKind.upload)
    return Run(kind=kind, config={"name": name}, inputs={"upload": str(artifact.id)})
