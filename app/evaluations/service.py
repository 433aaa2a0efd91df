"""Asking for evaluations: each protocol is a run of one stage."""

import uuid

from sqlalchemy.orm import Session

from app.artifacts.lookup import find_artifact
from app.artifacts.tables import Artifact
from app.datasets.lookup import hold_dataset
from app.datasets.tables import Dataset, Layout
from app.evaluations.schemas import AnyProtocol, EvaluationCreate
from app.problems import FieldError, Problem
from app.runs import service as runs
from app.runs.tables import Run, RunKind
from app.settings import Settings
from worker.config.base import StageConfig
from worker.config.pipeline import ArtifactKind, StageName
from worker.config.probe import ProbeConfig
from worker.config.transfer import TransferConfig, TransferProtocol


def create(session: Session, settings: Settings, request: EvaluationCreate) -> list[Run]:
    """Check and start a run for each protocol; Problem 4xx where any of them can't work, and then none is started."""
    checkpoint = _checkpoint(session, request.checkpoint)
    dataset = hold_dataset(session, request.dataset)
    runs.check_usable(dataset)
    runs.check_device(session, settings, request.device)
    for position, protocol in enumerate(request.protocols):
        _check_fits(protocol, dataset, f"protocols.{position}")
    _check_labelled(session, dataset)
    return [_start(session, request, checkpoint, dataset.id, protocol) for protocol in request.protocols]


def _start(
    session: Session, request: EvaluationCreate, checkpoint: Artifact, dataset: uuid.UUID, protocol: AnyProtocol
) -> Run:
    stage, config = _stage_of(protocol)
    run = Run(
        kind=RunKind.evaluation,
        dataset_id=dataset,
        config={stage: config.model_dump(mode="json")},
        inputs={"checkpoint": str(checkpoint.id)},
        device=request.device,
    )
    return runs.start(session, run, [runs.Job(stage, config, reads_store=True)])


def _stage_of(protocol: AnyProtocol) -> tuple[StageName, StageConfig]:
    if isinstance(protocol, TransferProtocol):
        return StageName.transfer, TransferConfig(protocol=protocol)
    return StageName.probe, ProbeConfig(protocol=protocol)


def _checkpoint(session: Session, ref: str) -> Artifact:
    artifact = find_artifact(session, ref)
    if artifact is None:
        raise _refused("unknown_artifact", "checkpoint", f"There is no artifact {ref!r}.")
    if artifact.kind != ArtifactKind.checkpoint:
        raise _refused("wrong_artifact_kind", "checkpoint", f"A checkpoint is judged, not a {artifact.kind}.")
    return artifact


def _check_fits(protocol: AnyProtocol, dataset: Dataset, path: str) -> None:
    annotated = dataset.layout == Layout.voc
    transfer = isinstance(protocol, TransferProtocol)
    if transfer and not annotated:
        message = (
            f"`{protocol.protocol}` needs annotated photographs in PASCAL VOC's layout; {dataset.name!r} holds images."
        )
    elif annotated and not transfer:
        message = (
            f"`{protocol.protocol}` needs a dataset of labelled images; {dataset.name!r} is in PASCAL VOC's layout."
        )
    else:
        return
    raise _refused("wrong_dataset_kind", path, message)


def _check_labelled(session: Session, dataset: Dataset) -> None:
    store = session.get(Artifact, dataset.store_id) if dataset.store_id else None
    if store is not None and store.summary.get("labelled") == 0:
        raise _refused("unlabelled_dataset", "dataset", f"No image of {dataset.name!r} has a label to judge by.")


def _refused(code: str, path: str, message: str) -> Problem:
    return Problem(422, code, message, [FieldError(path=path, message=message)])
