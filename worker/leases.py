"""Who may work on a stage: claims, leases, and every write of an attempt.

The fencing token is `attempt_no`: each write asks for `stage_id`, `attempt_no` and `state = running` in its WHERE, and
raises `LeaseLost` when it touches no row. Each function works inside the caller's transaction. Locks are always taken
in the order run, stage, so that a cancel and an attempt's end can't wait for each other.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact, StageOutput
from app.journal.events import append_event
from app.journal.tables import LogLine, Metric
from app.runs.advance import advance, lock_run, stage_finished
from app.runs.tables import Attempt, AttemptState, Run, RunState, Stage, StageState
from app.storage import StoredDirectory
from worker.config.pipeline import ArtifactKind, StageName
from worker.config.reasons import RETRYABLE, Reason
from worker.database import MOMENT
from worker.protocol import LogEntry, MetricPoint, Progress

RETRY_FACTOR = 3
"""Each further retry waits this many times longer."""


class LeaseLost(Exception):
    """The attempt is no longer the stage's: stop the child, drop its output."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a stage, until it is lost."""

    stage_id: uuid.UUID
    run_id: uuid.UUID
    attempt_no: int
    name: StageName
    config: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Orders:
    cancel: bool


@dataclass(frozen=True)
class Report:
    """What a child told since the last report."""

    progress: Progress | None = None
    eta_seconds: float | None = None
    metrics: Sequence[MetricPoint] = ()
    logs: Sequence[LogEntry] = ()
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class NewArtifact:
    role: str
    kind: ArtifactKind
    stored: StoredDirectory
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    reason: Reason
    detail: str
    exit_code: int | None = None


def claim(session: Session, stage_id: uuid.UUID, owner: str, device: str, lease_seconds: float) -> Claim | None:
    """Take a queued stage for a worker's `device` (`cpu`, `cuda`, `cuda:N`); None when it isn't to be had."""
    run_id = session.scalar(select(Stage.run_id).where(Stage.id == stage_id))
    if run_id is None:
        return None
    lock_run(session, run_id)
    stage = session.scalar(
        update(Stage)
        .where(Stage.id == stage_id, _claimable(device))
        .values(
            state=StageState.running,
            attempt_no=Stage.attempt_no + 1,
            owner=owner,
            lease_expires_at=MOMENT + timedelta(seconds=lease_seconds),
            started_at=func.coalesce(Stage.started_at, MOMENT),
            progress_done=0,
            progress_total=0,
            progress_unit=None,
            progress_at=MOMENT,
            reason=None,
            detail=None,
            not_before=None,
            eta_seconds=None,
        )
        .returning(Stage)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    if stage is None:
        return None
    session.add(Attempt(stage_id=stage.id, attempt_no=stage.attempt_no, owner=owner, device=device))
    append_event(session, run_id, "stage.running", {"stage": stage.name, "attempt_no": stage.attempt_no})
    session.flush()
    advance(session, run_id)
    return _claim_of(stage)


def _claimable(device: str) -> ColumnElement[bool]:
    kind = device.partition(":")[0]
    open_run = (
        select(Run.id)
        .where(
            Run.id == Stage.run_id,
            Run.state.in_((RunState.queued, RunState.running)),
            Run.device.in_(("any", kind)),
        )
        .exists()
    )
    return and_(
        Stage.state == StageState.queued,
        Stage.cancel_requested_at.is_(None),
        or_(Stage.not_before.is_(None), Stage.not_before <= MOMENT),
        open_run,
    )


def _claim_of(stage: Stage) -> Claim:
    return Claim(
        stage_id=stage.id,
        run_id=stage.run_id,
        attempt_no=stage.attempt_no,
        name=StageName(stage.name),
        config=stage.config,
    )


def heartbeat(session: Session, claim: Claim, lease_seconds: float) -> Orders | None:
    """Renew the lease and hear what is asked of the attempt; None when it is lost."""
    row = session.execute(
        update(Stage)
        .where(_held(claim))
        .values(lease_expires_at=MOMENT + timedelta(seconds=lease_seconds))
        .returning(Stage.cancel_requested_at)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return None if row is None else Orders(cancel=row.cancel_requested_at is not None)


def _held(claim: Claim) -> ColumnElement[bool]:
    return and_(Stage.id == claim.stage_id, Stage.attempt_no == claim.attempt_no, Stage.state == StageState.running)


def record(session: Session, claim: Claim, report: Report) -> None:
    """Store what the child told. The same report may be written twice after a broken connection."""
    # Log lines refer to the run: its row is locked first, as everywhere.
    session.execute(_share_run(claim.run_id))
    values: dict[str, Any] = {"progress_at": MOMENT, "eta_seconds": report.eta_seconds}
    if report.progress is not None:
        values |= {
            "progress_done": report.progress.done,
            "progress_total": report.progress.total,
            "progress_unit": report.progress.unit,
        }
    if report.config is not None:
        values["config"] = dict(report.config)
    changed = session.execute(
        update(Stage)
        .where(_held(claim))
        .values(values)
        .returning(Stage.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if changed is None:
        raise LeaseLost(claim)
    _add_metrics(session, claim, report.metrics)
    _add_logs(session, claim, report.logs)


def _share_run(run_id: uuid.UUID) -> Select[uuid.UUID]:
    return select(Run.id).where(Run.id == run_id).with_for_update(read=True, key_share=True)


def _add_metrics(session: Session, claim: Claim, metrics: Sequence[MetricPoint]) -> None:
    newest = {(point.name, point.step): point for point in metrics}
    if not newest:
        return
    rows = [
        {
            "stage_id": claim.stage_id,
            "name": point.name,
            "step": point.step,
            "attempt_no": claim.attempt_no,
            "value": point.value,
            "at": point.at,
        }
        for point in newest.values()
    ]
    statement = insert(Metric)
    values = {"value": statement.excluded.value, "at": statement.excluded.at}
    session.execute(statement.on_conflict_do_update(index_elements=Metric.__table__.primary_key, set_=values), rows)


def _add_logs(session: Session, claim: Claim, logs: Sequence[LogEntry]) -> None:
    session.add_all(
        LogLine(
            run_id=claim.run_id,
            stage=claim.name,
            attempt_no=claim.attempt_no,
            level=entry.level,
            message=entry.message,
            at=entry.at,
        )
        for entry in logs
    )
    session.flush()


def succeed(session: Session, claim: Claim, artifacts: Sequence[NewArtifact]) -> None:
    """The stage is done; its artifacts and whatever follows appear with the same commit."""
    stage = _locked(session, claim)
    for new in artifacts:
        artifact = _artifact(claim, new)
        session.add(artifact)
        session.flush()
        session.add(StageOutput(stage_id=claim.stage_id, role=new.role, artifact_id=artifact.id))
        append_event(session, claim.run_id, "artifact.created", _facts(stage, artifact))
    _end_attempt(session, claim, AttemptState.succeeded, exit_code=0)
    _finish(session, stage, StageState.succeeded)


def _artifact(claim: Claim, new: NewArtifact) -> Artifact:
    files = [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in new.stored.files]
    return Artifact(
        kind=new.kind,
        role=new.role,
        sha256=new.stored.sha256,
        bytes=new.stored.bytes,
        files=files,
        summary=dict(new.summary),
        stage_id=claim.stage_id,
        attempt_no=claim.attempt_no,
    )


def _facts(stage: Stage, artifact: Artifact) -> dict[str, Any]:
    facts = {"artifact": str(artifact.id), "kind": artifact.kind, "role": artifact.role}
    return {"stage": stage.name, **facts, "sha256": artifact.sha256, "bytes": artifact.bytes}


def fail(session: Session, claim: Claim, failure: Failure, retry_seconds: float) -> None:
    """The attempt failed: the stage is tried again after a pause where that may help, else it failed."""
    _fail(session, claim, failure, AttemptState.failed, retry_seconds)


def lose(session: Session, claim: Claim, retry_seconds: float) -> None:
    """The attempt's lease ran out: its worker is gone. `LeaseLost` where it was renewed meanwhile."""
    stage = _locked(session, claim, Stage.lease_expires_at < MOMENT)
    detail = f"The worker {stage.owner} did not renew its lease: its process or its host is gone."
    _fail(session, claim, Failure(Reason.worker_lost, detail), AttemptState.lost, retry_seconds)


def _fail(session: Session, claim: Claim, failure: Failure, state: AttemptState, retry_seconds: float) -> None:
    stage = _locked(session, claim)
    _end_attempt(session, claim, state, failure.reason, failure.detail, failure.exit_code)
    if stage.cancel_requested_at is not None:
        _finish(session, stage, StageState.cancelled, Reason.cancelled, failure.detail)
        return
    stage.failure_count += 1
    if failure.reason in RETRYABLE and stage.failure_count < stage.max_attempts:
        pause = timedelta(seconds=retry_seconds * RETRY_FACTOR ** (stage.failure_count - 1))
        _queue_again(session, stage, pause)
        data = {"stage": stage.name, "attempt_no": claim.attempt_no, "reason": failure.reason, "detail": failure.detail}
        append_event(session, claim.run_id, "stage.retried", data)
    else:
        _finish(session, stage, StageState.failed, failure.reason, failure.detail)


def release(session: Session, claim: Claim, detail: str | None = None) -> None:
    """The child left because it was asked to.

    Where a cancel was the cause, the stage is cancelled; else its worker shuts down: another one goes on from what
    was saved, and no retry is spent.
    """
    stage = _locked(session, claim)
    if stage.cancel_requested_at is not None:
        cancelled(session, claim, detail=detail)
        return
    _end_attempt(session, claim, AttemptState.drained, Reason.drained, detail)
    _queue_again(session, stage, timedelta(0))
    append_event(session, claim.run_id, "stage.drained", {"stage": stage.name, "attempt_no": claim.attempt_no})


def cancelled(session: Session, claim: Claim, reason: Reason = Reason.cancelled, detail: str | None = None) -> None:
    """The attempt was asked to stop, and did (or was made to)."""
    stage = _locked(session, claim)
    _end_attempt(session, claim, AttemptState.cancelled, reason, detail)
    _finish(session, stage, StageState.cancelled, reason, detail)


def expired(session: Session) -> list[Claim]:
    """The claims whose lease has run out."""
    stages = session.scalars(
        select(Stage).where(Stage.state == StageState.running, Stage.lease_expires_at < MOMENT).order_by(Stage.id)
    )
    return [_claim_of(stage) for stage in stages]


def overdue_cancels(session: Session, after_seconds: float) -> list[Claim]:
    """The claims that were asked to stop longer ago than any obedient supervisor needs."""
    limit = MOMENT - timedelta(seconds=after_seconds)
    stages = session.scalars(
        select(Stage).where(Stage.state == StageState.running, Stage.cancel_requested_at < limit).order_by(Stage.id)
    )
    return [_claim_of(stage) for stage in stages]


def _locked(session: Session, claim: Claim, *conditions: ColumnElement[bool]) -> Stage:
    """The claim's stage, its run locked first; whoever holds these locks may write until the commit."""
    lock_run(session, claim.run_id)
    stage = session.scalar(
        select(Stage).where(_held(claim), *conditions).with_for_update().execution_options(populate_existing=True)
    )
    if stage is None:
        raise LeaseLost(claim)
    return stage


def _end_attempt(
    session: Session,
    claim: Claim,
    state: AttemptState,
    reason: Reason | None = None,
    detail: str | None = None,
    exit_code: int | None = None,
) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.stage_id == claim.stage_id, Attempt.attempt_no == claim.attempt_no)
        .values(state=state, reason=reason, detail=detail, exit_code=exit_code, finished_at=MOMENT)
        .execution_options(synchronize_session=False)
    )


def _queue_again(session: Session, stage: Stage, pause: timedelta) -> None:
    stage.state = StageState.queued
    stage.queued_at = MOMENT
    stage.not_before = MOMENT + pause
    # Never rung since: the scheduler rings as soon as the pause is over.
    stage.rung_at = None
    _let_go(stage)
    session.flush()


def _finish(
    session: Session, stage: Stage, state: StageState, reason: Reason | None = None, detail: str | None = None
) -> None:
    stage.state, stage.reason, stage.detail = state, reason, detail
    stage.finished_at = MOMENT
    _let_go(stage)
    session.flush()
    stage_finished(session, stage)


def _let_go(stage: Stage) -> None:
    stage.owner = stage.lease_expires_at = stage.eta_seconds = None
