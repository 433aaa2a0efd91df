"""Evaluations by one protocol, with what they were made from."""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.artifacts.lineage import lineage
from app.artifacts.tables import Artifact, StageInput
from app.datasets.tables import Dataset
from app.evaluations.schemas import EvaluationDetail, EvaluationOut
from app.names import as_id
from app.problems import not_found
from app.runs.tables import Stage
from worker.config.pipeline import EVALUATIONS, StageName
from worker.config.scores import ScoreSheet


def evaluations() -> Select[Artifact]:
    """Those by one protocol, whose summary is a ScoreSheet; a pipeline's own `evaluate` makes another kind."""
    return (
        select(Artifact)
        .join(Stage, Stage.id == Artifact.stage_id)
        .where(Stage.name.in_(EVALUATIONS), Artifact.deleted_at.is_(None))
    )


def get_evaluation(session: Session, ref: str) -> Artifact:
    """The evaluation; 404 where there is none."""
    key = as_id(ref)
    match = Artifact.name == ref if key is None else Artifact.id == key
    evaluation = session.scalars(evaluations().where(match)).one_or_none()
    if evaluation is None:
        raise not_found("evaluation", ref)
    return evaluation


def sheet_of(evaluation: Artifact) -> ScoreSheet:
    return ScoreSheet.model_validate(evaluation.summary)


def evaluations_out(session: Session, found: Sequence[Artifact]) -> list[EvaluationOut]:
    """As the API shows them, in the same order."""
    stage_ids = [evaluation.stage_id for evaluation in found if evaluation.stage_id is not None]
    stages = {stage.id: stage for stage in session.scalars(select(Stage).where(Stage.id.in_(stage_ids)))}
    checkpoints = judged_checkpoints(session, stage_ids)
    datasets = judged_datasets(session, stage_ids)
    return [
        _out(evaluation, stages[evaluation.stage_id], checkpoints[evaluation.stage_id], datasets)
        for evaluation in found
        if evaluation.stage_id is not None
    ]


def evaluation_detail(session: Session, evaluation: Artifact) -> EvaluationDetail:
    (out,) = evaluations_out(session, [evaluation])
    return EvaluationDetail(**dict(out), lineage=lineage(session, evaluation))


def judged_checkpoints(session: Session, stages: Sequence[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """Stage -> the checkpoint's artifact that it read."""
    reads = select(StageInput).where(StageInput.stage_id.in_(stages), StageInput.role == "checkpoint")
    return {read.stage_id: read.artifact_id for read in session.scalars(reads)}


def judged_datasets(session: Session, stages: Sequence[uuid.UUID]) -> dict[uuid.UUID, Dataset]:
    """Stage -> the dataset whose images it read, unless that was deleted."""
    query = (
        select(StageInput.stage_id, Dataset)
        .join(Dataset, Dataset.store_id == StageInput.artifact_id)
        .where(StageInput.stage_id.in_(stages), Dataset.deleted_at.is_(None))
    )
    return {stage_id: dataset for stage_id, dataset in session.execute(query)}


def _out(
    evaluation: Artifact, stage: Stage, checkpoint: uuid.UUID, datasets: Mapping[uuid.UUID, Dataset]
) -> EvaluationOut:
    dataset = datasets.get(stage.id)
    links = {
        "evaluation": f"/evaluations/{evaluation.id}",
        "artifact": f"/artifacts/{evaluation.id}",
        "lineage": f"/artifacts/{evaluation.id}/lineage",
        "run": f"/runs/{stage.run_id}",
        "checkpoint": f"/checkpoints/{checkpoint}",
    }
    return EvaluationOut(
        id=evaluation.id,
        created_at=evaluation.created_at,
        sheet=sheet_of(evaluation),
        run=stage.run_id,
        stage=StageName(stage.name),
        checkpoint=checkpoint,
        dataset=dataset.name if dataset else None,
        links=links | ({"dataset": f"/datasets/{dataset.id}"} if dataset else {}),
    )
