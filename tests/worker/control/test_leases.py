"""Claims and fences, on real Postgres."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact
from app.journal.tables import Event, LogLine, Metric
from app.runs.tables import Run, RunState, Stage, StageState
from app.storage import StoredDirectory, StoredFile
from tests.worker.control.conftest import Desk
from worker import leases
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.leases import Claim, Failure, LeaseLost, NewArtifact, Report
from worker.protocol import LogEntry, MetricPoint, Progress

LEASE = 60.0
RETRY = 5.0
CRASH = Failure(Reason.crashed, "it fell over", 1)
ARTIFACT = NewArtifact(
    "centroids", ArtifactKind.centroids, StoredDirectory("ab" * 32, (StoredFile("a.npy", 3, "cd" * 32),)), {"k": 2}
)


def claim(desk: Desk, stage_id: uuid.UUID, owner: str = "one", device: str = "cpu") -> Claim | None:
    with desk.sessions.begin() as session:
        return leases.claim(session, stage_id, owner, device, LEASE)


def claimed(desk: Desk, stage_id: uuid.UUID) -> Claim:
    mine = claim(desk, stage_id)
    assert mine is not None
    return mine


def write(desk: Desk, work: Callable[[Session], Any]) -> Any:  # noqa: ANN401
    with desk.sessions.begin() as session:
        return work(session)


def test_of_24_racing_claims_one_wins(desk: Desk) -> None:
    stage_id = desk.queue()
    with ThreadPoolExecutor(24) as racers:
        claims = list(racers.map(lambda number: claim(desk, stage_id, f"racer {number}"), range(24)))
    [winner] = [mine for mine in claims if mine is not None]
    assert winner.attempt_no == 1
    assert desk.stage(stage_id).owner == f"racer {claims.index(winner)}"
    assert len(desk.attempts(stage_id)) == 1


def test_a_claim_starts_the_stage_and_its_run(desk: Desk) -> None:
    stage_id = desk.queue(k=3)
    mine = claimed(desk, stage_id)
    assert mine.config == {"k": 3}
    assert (desk.stage(stage_id).state, desk.run(stage_id).state) == ("running", "running")
    assert desk.run(stage_id).started_at is not None
    assert desk.events(stage_id) == ["stage.running", "run.running"]


@pytest.mark.parametrize(
    ("wanted", "device", "fits"),
    [
        ("any", "cpu", True),
        ("any", "cuda:1", True),
        ("cpu", "cpu", True),
        ("cpu", "cuda", False),
        ("cuda", "cuda:1", True),
        ("cuda", "cpu", False),
    ],
)
def test_a_worker_claims_what_its_device_fits(desk: Desk, wanted: str, device: str, fits: bool) -> None:
    assert (claim(desk, desk.queue(device=wanted), device=device) is not None) == fits


@pytest.mark.parametrize("state", [state for state in StageState if state != StageState.queued])
def test_only_queued_stages_are_claimed(desk: Desk, state: StageState) -> None:
    stage_id = desk.queue()
    write(desk, lambda session: session.execute(update(Stage).values(state=state)))
    assert claim(desk, stage_id) is None
    assert desk.attempts(stage_id) == []


@pytest.mark.parametrize("state", [state for state in RunState if state not in ("queued", "running")])
def test_stages_of_an_ending_run_are_not_claimed(desk: Desk, state: RunState) -> None:
    stage_id = desk.queue()
    write(desk, lambda session: session.execute(update(Run).values(state=state)))
    assert claim(desk, stage_id) is None


def test_an_unknown_stage_is_not_claimed(desk: Desk) -> None:
    assert claim(desk, uuid.uuid4()) is None


def test_a_heartbeat_renews_the_lease_and_brings_the_cancel(desk: Desk) -> None:
    stage_id = desk.queue()
    mine = claimed(desk, stage_id)
    first = desk.stage(stage_id).lease_expires_at
    orders = write(desk, lambda session: leases.heartbeat(session, mine, 2 * LEASE))
    assert orders == leases.Orders(cancel=False)
    assert desk.stage(stage_id).lease_expires_at > first  # type: ignore[operator]
    desk.cancel(stage_id)
    assert write(desk, lambda session: leases.heartbeat(session, mine, LEASE)) == leases.Orders(cancel=True)


def test_a_report_is_stored(desk: Desk) -> None:
    stage_id = desk.queue(k="auto")
    now = datetime.now(UTC)
    report = Report(
        progress=Progress(done=3, total=9, unit="images"),
        eta_seconds=12.5,
        metrics=[MetricPoint(name="loss", step=1, value=9, at=now), MetricPoint(name="loss", step=1, value=2, at=now)],
        logs=[LogEntry(level="warning", message="hm", at=now)],
        config={"k": 5},
    )
    mine = claimed(desk, stage_id)
    for _ in range(2):
        write(desk, lambda session: leases.record(session, mine, report))
    stage = desk.stage(stage_id)
    assert (stage.progress_done, stage.progress_total, stage.progress_unit, stage.eta_seconds) == (3, 9, "images", 12.5)
    assert stage.config == {"k": 5}
    with desk.sessions() as session:
        assert session.execute(select(Metric.name, Metric.step, Metric.attempt_no, Metric.value)).all() == [
            ("loss", 1, 1, 2.0)
        ]
        assert session.execute(select(LogLine.stage, LogLine.level, LogLine.message)).first() == (
            "cluster",
            "warning",
            "hm",
        )


def test_success_shows_the_artifact_with_its_lineage(desk: Desk) -> None:
    stage_id = desk.queue()
    mine = claimed(desk, stage_id)
    write(desk, lambda session: leases.succeed(session, mine, [ARTIFACT]))
    [artifact] = desk.outputs(stage_id)
    assert (artifact.stage_id, artifact.attempt_no, artifact.bytes) == (stage_id, 1, 3)
    assert artifact.files == [{"name": "a.npy", "bytes": 3, "sha256": "cd" * 32}]


def test_a_crash_is_tried_again_with_growing_pauses_and_then_fails(desk: Desk) -> None:
    stage_id = desk.queue(max_attempts=3)
    pauses = []
    for _ in range(2):
        mine = claimed(desk, stage_id)
        write(desk, lambda session, mine=mine: leases.fail(session, mine, CRASH, RETRY))
        stage = desk.stage(stage_id)
        assert stage.state == StageState.queued
        assert stage.not_before is not None
        assert stage.queued_at is not None
        pauses.append(round((stage.not_before - stage.queued_at).total_seconds()))
        assert claim(desk, stage_id) is None
        write(desk, lambda session: session.execute(update(Stage).values(not_before=None)))
    mine = claimed(desk, stage_id)
    write(desk, lambda session: leases.fail(session, mine, CRASH, RETRY))
    assert pauses == [5, 15]
    assert (desk.stage(stage_id).state, desk.stage(stage_id).reason) == ("failed", "crashed")
    assert desk.run(stage_id).state == RunState.failed
    assert desk.outcomes(stage_id) == [("failed", "crashed")] * 3


def test_a_fault_of_the_request_is_not_tried_again(desk: Desk) -> None:
    stage_id = desk.queue(max_attempts=3)
    mine = claimed(desk, stage_id)
    write(desk, lambda session: leases.fail(session, mine, Failure(Reason.bad_weights, "no such layer"), RETRY))
    assert (desk.stage(stage_id).state, desk.stage(stage_id).failure_count) == ("failed", 1)


def test_a_crash_while_cancelling_ends_as_cancelled(desk: Desk) -> None:
    stage_id = desk.queue(max_attempts=3)
    mine = claimed(desk, stage_id)
    desk.cancel(stage_id)
    write(desk, lambda session: leases.fail(session, mine, CRASH, RETRY))
    assert (desk.stage(stage_id).state, desk.run(stage_id).state) == ("cancelled", "cancelled")
    assert desk.outcomes(stage_id) == [("failed", "crashed")]


def test_a_success_while_cancelling_keeps_what_was_made(desk: Desk) -> None:
    stage_id = desk.queue()
    mine = claimed(desk, stage_id)
    desk.cancel(stage_id)
    write(desk, lambda session: leases.succeed(session, mine, [ARTIFACT]))
    assert desk.stage(stage_id).state == StageState.succeeded
    assert len(desk.outputs(stage_id)) == 1


def test_a_release_spends_no_retry(desk: Desk) -> None:
    stage_id = desk.queue(max_attempts=1)
    for attempt_no in (1, 2):
        mine = claimed(desk, stage_id)
        assert mine.attempt_no == attempt_no
        write(desk, lambda session, mine=mine: leases.release(session, mine))
    assert (desk.stage(stage_id).state, desk.stage(stage_id).failure_count) == ("queued", 0)
    assert desk.outcomes(stage_id) == [("drained", "drained")] * 2


def test_a_release_after_a_cancel_is_a_cancel(desk: Desk) -> None:
    stage_id = desk.queue()
    mine = claimed(desk, stage_id)
    desk.cancel(stage_id)
    write(desk, lambda session: leases.release(session, mine))
    assert (desk.stage(stage_id).state, desk.stage(stage_id).reason) == ("cancelled", "cancelled")


def expire(desk: Desk) -> None:
    write(desk, lambda session: session.execute(update(Stage).values(lease_expires_at=func.now())))


def test_an_expired_lease_is_taken_over_and_its_old_owner_shut_out(desk: Desk) -> None:
    stage_id = desk.queue()
    old = claimed(desk, stage_id)
    with desk.sessions() as session:
        assert leases.expired(session) == []
    expire(desk)
    with desk.sessions() as session:
        assert leases.expired(session) == [old]
    write(desk, lambda session: leases.lose(session, old, 0))
    new = claim(desk, stage_id, "two")
    assert new is not None
    assert new.attempt_no == 2
    assert write(desk, lambda session: leases.heartbeat(session, old, LEASE)) is None
    assert desk.outcomes(stage_id) == [("lost", "worker_lost"), ("running", None)]


def test_losing_the_last_attempt_fails_the_stage(desk: Desk) -> None:
    stage_id = desk.queue(max_attempts=1)
    mine = claimed(desk, stage_id)
    expire(desk)
    write(desk, lambda session: leases.lose(session, mine, RETRY))
    assert (desk.stage(stage_id).state, desk.stage(stage_id).reason) == ("failed", "worker_lost")


def test_a_lease_that_was_renewed_meanwhile_is_not_lost(desk: Desk) -> None:
    stage_id = desk.queue()
    mine = claimed(desk, stage_id)
    with pytest.raises(LeaseLost):
        write(desk, lambda session: leases.lose(session, mine, RETRY))
    assert desk.stage(stage_id).state == StageState.running


def take_over(session: Session, mine: Claim) -> None:
    leases.release(session, mine)
    assert leases.claim(session, mine.stage_id, "two", "cpu", LEASE)


REPORT = Report(
    progress=Progress(done=1, total=2, unit="x"),
    metrics=[MetricPoint(name="loss", step=1, value=2)],
    logs=[LogEntry(level="info", message="late")],
    config={"k": 99},
)
WRITES: dict[str, Callable[[Session, Claim], Any]] = {
    "record": lambda session, mine: leases.record(session, mine, REPORT),
    "succeed": lambda session, mine: leases.succeed(session, mine, [ARTIFACT]),
    "fail": lambda session, mine: leases.fail(session, mine, CRASH, RETRY),
    "release": leases.release,
    "cancelled": leases.cancelled,
    "lose": lambda session, mine: leases.lose(session, mine, RETRY),
}
ENDS: dict[str, Callable[[Session, Claim], Any]] = {
    "taken over": lambda session, mine: take_over(session, mine),
    "succeeded": lambda session, mine: leases.succeed(session, mine, []),
    "failed": lambda session, mine: leases.fail(session, mine, Failure(Reason.diverged, "nan"), RETRY),
    "cancelled": leases.cancelled,
    "queued again": lambda session, mine: leases.fail(session, mine, CRASH, RETRY),
}


def everything(desk: Desk) -> list[Any]:
    """All that a write could touch; `xmin` changes with every write of a row, even one that changes nothing."""
    with desk.sessions() as session:
        tables = (Run, Stage, Artifact, Event, LogLine, Metric)
        names = [table.__tablename__ for table in tables] + ["attempt", "stage_output", "doorbell"]
        return [session.execute(text(f"SELECT xmin::text, * FROM {name} ORDER BY ctid")).all() for name in names]


@pytest.mark.parametrize("name", WRITES)
def test_a_stale_attempts_write_touches_nothing(desk: Desk, name: str) -> None:
    for end in ENDS.values():
        old = claimed(desk, desk.queue())
        write(desk, lambda session, end=end, old=old: end(session, old))
        before = everything(desk)
        with pytest.raises(LeaseLost):
            write(desk, lambda session, old=old: WRITES[name](session, old))
        assert write(desk, lambda session, old=old: leases.heartbeat(session, old, LEASE)) is None
        assert everything(desk) == before
