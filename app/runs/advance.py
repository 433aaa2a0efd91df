"""Moves a run on: whatever ended, this says what starts now, and what state the run is in.

Everything here happens under the run row's lock, in the caller's transaction. Whoever changes a stage takes that
lock (`lock_run`) before the stage's row, so that two who change the same run never wait for each other.
"""

import hashlib
import uuid
from collections.abc import Sequence

from sqlalchemy import Select, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.artifacts.tables import Artifact, StageInput, StageOutput
from app.datasets.tables import Dataset, DatasetState
from app.db.locks import WORK
from app.journal.events import append_event
from app.outbox.tables import Doorbell
from app.runs.checks import ConfigRefused, facts_of, resolve
from app.runs.keys import stage_key
from app.runs.outcome import outcome
from app.runs.tables import TERMINAL, Run, RunKind, RunState, Stage, StageDependency, StageState
from worker.config.pipeline import REGISTRATIONS, STAGES, ArtifactKind, StageName
from worker.config.reasons import Reason
from worker.config.run import CONFIG_CLASSES

IMPORTS = frozenset({RunKind.import_weights, RunKind.import_labels})
DATASET_ROLES = frozenset({"store", "annotations"})
"""Inputs that are the dataset itself."""


def lock_run(session: Session, run_id: uuid.UUID) -> Run:
    """The run, read fresh and locked until the transaction ends."""
    query = select(Run).where(Run.id == run_id).with_for_update()
    return session.scalars(query, execution_options={"populate_existing": True}).one()


def stages_of(session: Session, run_id: uuid.UUID) -> Sequence[Stage]:
    """The run's stages in the order of the pipeline, read fresh."""
    query = select(Stage).where(Stage.run_id == run_id).order_by(Stage.position)
    return session.scalars(query, execution_options={"populate_existing": True}).all()


def advance(session: Session, run_id: uuid.UUID) -> None:
    """Settle every pending stage whose needs have ended, then the run's own state, then whoever waits for this run."""
    run = lock_run(session, run_id)
    if run.state in TERMINAL:
        return
    stages = stages_of(session, run_id)
    needs = _needs(session, [stage for stage in stages if stage.state == StageState.pending])
    # Stages stand in topological order, so one pass carries a reused result all the way down.
    for stage in stages:
        if stage.state == StageState.pending:
            _settle(session, run, stage, needs[stage.id])
    _settle_run(session, run, stages)
    if run.state in TERMINAL:
        _after(session, run, stages)


def stage_finished(session: Session, stage: Stage) -> None:
    """To be called once an attempt set the stage to a terminal state and linked its outputs (`StageOutput`)."""
    _announce(session, stage)
    advance(session, stage.run_id)


def enqueue(session: Session, run: Run, stage: Stage) -> None:
    """Ready to be claimed: queued, with a doorbell to send once this is committed."""
    stage.state = StageState.queued
    stage.queued_at = func.now()
    session.add(Doorbell(stage_id=stage.id, queue=run.device))
    append_event(session, run.id, "stage.queued", {"stage": stage.name})


def end_stage(session: Session, stage: Stage, state: StageState, reason: Reason, detail: str | None = None) -> None:
    """End a stage that no attempt holds."""
    stage.state = state
    stage.reason = reason
    stage.detail = detail
    stage.finished_at = func.now()
    _announce(session, stage)


def _announce(session: Session, stage: Stage) -> None:
    facts = {"stage": stage.name, "reason": stage.reason, "detail": stage.detail, "attempt_no": stage.attempt_no}
    append_event(session, stage.run_id, f"stage.{stage.state}", facts)


def _needs(session: Session, stages: Sequence[Stage]) -> dict[uuid.UUID, list[Stage]]:
    """What each of the stages waits for."""
    needs: dict[uuid.UUID, list[Stage]] = {stage.id: [] for stage in stages}
    query = (
        select(StageDependency.stage_id, Stage)
        .join(Stage, Stage.id == StageDependency.needs_id)
        .where(StageDependency.stage_id.in_(needs))
    )
    for stage_id, need in session.execute(query, execution_options={"populate_existing": True}):
        needs[stage_id].append(need)
    return needs


def _settle(session: Session, run: Run, stage: Stage, needs: Sequence[Stage]) -> None:
    broken = next((need for need in needs if need.state in {StageState.failed, StageState.cancelled}), None)
    if run.cancel_requested_at is not None:
        end_stage(session, stage, StageState.cancelled, Reason.cancelled)
    elif broken is not None:
        detail = f"{broken.name} {broken.state}: {broken.detail or broken.reason}"
        end_stage(session, stage, StageState.cancelled, Reason.upstream_failed, detail)
    elif all(need.state == StageState.succeeded for need in needs):
        _make_ready(session, run, stage)


def _make_ready(session: Session, run: Run, stage: Stage) -> None:
    # A resumed stage keeps its key: its config may hold what the machine decided, its inputs can't have changed.
    if stage.key is None:
        try:
            _prepare(session, run, stage)
        except ConfigRefused as refused:
            detail = f"{refused.path}: {refused}" if refused.path else str(refused)
            return end_stage(session, stage, StageState.failed, refused.reason, detail)
    if not _decides_alone(session, stage):
        return None
    under_way = session.scalar(_under_way().where(Stage.id == stage.id))
    if under_way is not None:
        stage.detail = f"Waits for the same work in run {under_way}."
        return None
    stage.detail = None
    twin = _equal_stage(session, stage)
    if twin is None:
        return enqueue(session, run, stage)
    return _take_over(session, stage, twin)


def _prepare(session: Session, run: Run, stage: Stage) -> None:
    """Bind the stage's inputs, resolve its config with the dataset's facts, and compute its key."""
    inputs = _bind_inputs(session, run, stage)
    name = StageName(stage.name)
    config = CONFIG_CLASSES[name].model_validate(stage.config)
    store = inputs.get("store") or _store(session, run, ArtifactKind.image_store)
    facts = facts_of(store, inputs.get("features"))
    if facts is not None:
        config = resolve(config, facts)
    stage.config = config.model_dump(mode="json")
    stage.key = stage_key(STAGES[name], stage.config, {role: given.sha256 for role, given in inputs.items()})


def _bind_inputs(session: Session, run: Run, stage: Stage) -> dict[str, Artifact]:
    session.execute(delete(StageInput).where(StageInput.stage_id == stage.id))
    made = _made_in(session, run)
    bound: dict[str, Artifact] = {}
    for role, port in STAGES[StageName(stage.name)].inputs.items():
        given = run.inputs.get(role)
        artifact = session.get(Artifact, uuid.UUID(given)) if given else made.get(role)
        if artifact is None and role in DATASET_ROLES:
            artifact = _store(session, run, port.kind)
        if artifact is not None:
            bound[role] = artifact
            session.add(StageInput(stage_id=stage.id, role=role, artifact_id=artifact.id))
    return bound


def _made_in(session: Session, run: Run) -> dict[str, Artifact]:
    rows = session.execute(
        select(StageOutput.role, Artifact)
        .join(Artifact, Artifact.id == StageOutput.artifact_id)
        .join(Stage, Stage.id == StageOutput.stage_id)
        .where(Stage.run_id == run.id)
    )
    return {role: artifact for role, artifact in rows}


def _store(session: Session, run: Run, kind: ArtifactKind) -> Artifact | None:
    """What the registration of the run's dataset made, if it is of that kind."""
    return session.scalars(
        select(Artifact)
        .join(Dataset, Dataset.store_id == Artifact.id)
        .where(Dataset.id == run.dataset_id, Artifact.kind == kind)
    ).one_or_none()


def held_back(session: Session) -> Sequence[uuid.UUID]:
    """The runs with a stage that waited for the same work elsewhere, which has ended: they want to be advanced."""
    query = select(Stage.run_id).join(Run, Run.id == Stage.run_id)
    nobody = ~_under_way().correlate(Stage, Run).exists()
    # A key is computed when a stage's own needs are met, so a pending stage that has one waits for nothing else.
    ready = query.where(Stage.state == StageState.pending, Stage.key.is_not(None), Run.state.not_in(TERMINAL))
    return session.scalars(ready.where(nobody).distinct().order_by(Stage.run_id)).all()


def _decides_alone(session: Session, stage: Stage) -> bool:
    """Nobody else looks at the same work now: two equal stages that are queued at the same moment see each other.

    Never waits, as whoever holds this lock holds a run's as well; the scheduler asks again for who was turned away.
    """
    key = int.from_bytes(hashlib.sha256(str(stage.key).encode()).digest()[:4], signed=True)
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(WORK, key))))


def _under_way() -> Select[uuid.UUID]:
    """Runs whose stage does, or will do, the work of `Stage` (of `Run`), on a device that `Run` asks for too.

    A run on any device waits for work that runs anywhere, but not for a place in another device's queue.
    """
    other, run = aliased(Stage), aliased(Run)
    same_queue = and_(run.device == Run.device, other.state == StageState.queued)
    at_work = and_(or_(run.device == Run.device, Run.device == "any"), other.state == StageState.running)
    return (
        select(other.run_id)
        .join(run, run.id == other.run_id)
        .where(other.key == Stage.key, other.id != Stage.id, Run.id == Stage.run_id)
        .where(or_(same_queue, at_work), Stage.name.not_in(REGISTRATIONS))
        .limit(1)
    )


def _equal_stage(session: Session, stage: Stage) -> Stage | None:
    """An earlier stage that did this very work and whose results are all still there."""
    if StageName(stage.name) in REGISTRATIONS:
        return None
    output = select(StageOutput).where(StageOutput.stage_id == Stage.id)
    gone = output.join(Artifact, Artifact.id == StageOutput.artifact_id).where(Artifact.deleted_at.is_not(None))
    return session.scalars(
        select(Stage)
        .where(Stage.key == stage.key, Stage.state == StageState.succeeded, Stage.id != stage.id)
        .where(output.correlate(Stage).exists(), ~gone.correlate(Stage).exists())
        .order_by(Stage.finished_at.desc())
        .limit(1)
    ).one_or_none()


def _take_over(session: Session, stage: Stage, twin: Stage) -> None:
    for output in session.scalars(select(StageOutput).where(StageOutput.stage_id == twin.id)):
        session.add(StageOutput(stage_id=stage.id, role=output.role, artifact_id=output.artifact_id))
    stage.state = StageState.succeeded
    stage.reason = Reason.reused
    stage.reused_stage_id = twin.reused_stage_id or twin.id
    stage.config = twin.config
    stage.progress_done, stage.progress_total = twin.progress_done, twin.progress_total
    stage.progress_unit = twin.progress_unit
    stage.finished_at = func.now()
    append_event(session, stage.run_id, "stage.reused", {"stage": stage.name, "from_run": str(twin.run_id)})


def _settle_run(session: Session, run: Run, stages: Sequence[Stage]) -> None:
    now = outcome(run, stages)
    if now.state == run.state:
        return
    run.state, run.reason, run.detail = now.state, now.reason, now.detail
    if now.state == RunState.running and run.started_at is None:
        run.started_at = func.now()
    if now.state in TERMINAL:
        run.finished_at = func.now()
    append_event(session, run.id, f"run.{now.state}", {"reason": now.reason, "detail": now.detail})


def _after(session: Session, run: Run, stages: Sequence[Stage]) -> None:
    """What the end of a registration means to others."""
    if run.kind == RunKind.ingest:
        _settle_dataset(session, run)
        # This run is locked, as it is by whoever makes a run that waits for it: that one is seen here, or sees us.
        for waiting in _waiting_runs(session, stages):
            advance(session, waiting)
    elif run.kind in IMPORTS and run.state == RunState.succeeded:
        _name_import(session, run, stages)


def _settle_dataset(session: Session, run: Run) -> None:
    dataset = session.get_one(Dataset, run.dataset_id)
    if run.state == RunState.succeeded:
        dataset.state, dataset.reason, dataset.detail = DatasetState.ready, None, None
        (made,) = _made_in(session, run).values()
        dataset.store_id = made.id
    else:
        dataset.state, dataset.reason, dataset.detail = DatasetState.failed, run.reason, run.detail


def _waiting_runs(session: Session, stages: Sequence[Stage]) -> Sequence[uuid.UUID]:
    return session.scalars(
        select(Stage.run_id)
        .join(StageDependency, StageDependency.stage_id == Stage.id)
        .where(StageDependency.needs_id.in_([stage.id for stage in stages]))
        .where(Stage.run_id.not_in([stage.run_id for stage in stages]))
        .distinct()
        .order_by(Stage.run_id)
    ).all()


def _name_import(session: Session, run: Run, stages: Sequence[Stage]) -> None:
    """The name that was asked for, unless somebody else has taken it meanwhile."""
    name = run.config["name"]
    if not session.scalar(select(exists().where(Artifact.name == name))):
        artifact = session.scalars(_outputs(stages[0].id)).one()
        artifact.name = name


def _outputs(stage_id: uuid.UUID) -> Select[Artifact]:
    return (
        select(Artifact)
        .join(StageOutput, StageOutput.artifact_id == Artifact.id)
        .where(StageOutput.stage_id == stage_id)
    )
