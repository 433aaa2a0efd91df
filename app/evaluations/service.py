"""Asking for evaluations: each protocol is a run of one stage."""

import uuid

from sqlalchemy.orm import Session

from app.artifacts.lookup import find_artifact
from app.artifacts.networks import backbone_of
from app.artifacts.tables import Artifact
from app.datasets.lookup import hold_dataset
from app.datasets.tables import Dataset
from app.evaluations.checks import check_layout, check_network, check_store, refused
from app.evaluations.schemas import AnyProtocol, EvaluationCreate
from app.runs import service as runs
from app.runs.tables import Run, RunKind
from app.settings import Settings
from models.config import BackboneConfig
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
    backbone = backbone_of(session, checkpoint)
    store = session.get(Artifact, dataset.store_id) if dataset.store_id else None
    for position, protocol in enumerate(request.protocols):
        _check(protocol, f"protocols.{position}", dataset, store, backbone)
    return [_start(session, request, checkpoint, dataset.id, protocol) for protocol in request.protocols]


def _check(
    protocol: AnyProtocol, path: str, dataset: Dataset, store: Artifact | None, backbone: BackboneConfig | None
) -> None:
    """By what is known by now: a dataset that is still being registered has no store."""
    check_layout(protocol, dataset, path)
    if backbone is not None:
        check_network(protocol, backbone, path)
    if store is not None:
        check_store(protocol, store, dataset, path)


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
        raise refused("unknown_artifact", "checkpoint", f"There is no artifact {ref!r}.")
    if artifact.kind != ArtifactKind.checkpoint:
        raise refused("wrong_artifact_kind", "checkpoint", f"A checkpoint is judged, not a {artifact.kind}.")
    return artifact
