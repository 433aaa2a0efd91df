"""A supervisor, its real child process, real Postgres."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from app.artifacts.tables import Artifact, StageInput
from app.journal.tables import LogLine, Metric
from app.runs import service as runs
from app.runs.tables import RunState, Stage, StageState
from app.settings import Settings
from app.storage import Storage
from tests.worker.control.conftest import PLAY, Desk, Outage, eventually
from worker.supervisor import Supervisor


def test_a_stage_runs_to_its_artifact(desk: Desk, supervisor: Supervisor, storage: Storage) -> None:
    stage_id = desk.queue()
    assert supervisor.ring(stage_id)
    stage = desk.stage(stage_id)
    assert (stage.state, stage.attempt_no, stage.owner, stage.lease_expires_at) == ("succeeded", 1, None, None)
    assert (stage.progress_done, stage.progress_total, stage.progress_unit) == (3, 3, "steps")
    assert desk.run(stage_id).state == RunState.succeeded
    assert desk.outcomes(stage_id) == [("succeeded", None)]
    [artifact] = desk.outputs(stage_id)
    assert (artifact.kind, artifact.role, artifact.summary) == ("centroids", "centroids", {"start": 0})
    assert (storage.artifact(artifact.sha256) / "clustering.json").read_text() == '{"start": 0}'
    expected = ["stage.running", "run.running", "artifact.created", "stage.succeeded", "run.succeeded"]
    assert desk.events(stage_id) == expected


def test_metrics_and_log_lines_reach_the_journal(desk: Desk, supervisor: Supervisor) -> None:
    stage_id = desk.queue()
    supervisor.ring(stage_id)
    with desk.sessions() as session:
        points = session.execute(select(Metric.name, Metric.step, Metric.value).order_by(Metric.step)).all()
        lines = session.scalars(select(LogLine.message).order_by(LogLine.id)).all()
    assert points == [("count", 0, 0.0), ("count", 1, 1.0), ("count", 2, 2.0)]
    assert lines == ["from 0"]


def test_a_second_doorbell_changes_nothing(desk: Desk, supervisor: Supervisor) -> None:
    stage_id = desk.queue()
    assert supervisor.ring(stage_id)
    assert not supervisor.ring(stage_id)
    assert desk.stage(stage_id).attempt_no == 1


def test_a_finished_stage_leaves_no_work_files(desk: Desk, supervisor: Supervisor, storage: Storage) -> None:
    stage_id = desk.queue()
    supervisor.ring(stage_id)
    assert not storage.attempt(stage_id, 1).parent.exists()


def test_a_killed_child_is_tried_again_from_what_it_saved(desk: Desk, supervisor: Supervisor) -> None:
    stage_id = desk.queue(fault="kill", faulty_attempts=1)
    supervisor.ring(stage_id)
    assert desk.stage(stage_id).state == StageState.queued
    eventually(lambda: supervisor.ring(stage_id))
    assert desk.outcomes(stage_id) == [("failed", "killed"), ("succeeded", None)]
    assert desk.attempts(stage_id)[0].exit_code == -9
    assert desk.outputs(stage_id)[0].summary == {"start": 2}
    assert "stage.retried" in desk.events(stage_id)


@pytest.mark.parametrize(
    ("fault", "reason", "detail"),
    [
        ("refuse", "k_too_large", "k = 9 clusters"),
        ("memory", "out_of_memory", "8 GiB more"),
        ("disk", "disk_full", "No space left"),
        ("raise", "crashed", "ZeroDivisionError: divided by nothing"),
        ("exit", "crashed", "last words"),
        ("segfault", "crashed", "SIGSEGV"),
        ("nothing", "crashed", "made {}"),
    ],
)
def test_a_failure_is_told_with_its_reason(
    desk: Desk, supervisor: Supervisor, fault: str, reason: str, detail: str
) -> None:
    stage_id = desk.queue(fault=fault, max_attempts=1)
    supervisor.ring(stage_id)
    stage = desk.stage(stage_id)
    assert (stage.state, stage.reason) == ("failed", reason)
    assert detail in (stage.detail or "")
    assert desk.outcomes(stage_id) == [("failed", reason)]
    assert desk.run(stage_id).state == RunState.failed
    assert desk.outputs(stage_id) == []


def test_an_unknown_config_key_fails_the_stage_by_name(desk: Desk, supervisor: Supervisor) -> None:
    stage_id = desk.queue(stepps=3)
    supervisor.ring(stage_id)
    stage = desk.stage(stage_id)
    assert (stage.state, stage.reason) == ("failed", "bad_config")
    assert "stepps" in (stage.detail or "")


def test_a_damaged_input_is_found_before_the_work(desk: Desk, supervisor: Supervisor, storage: Storage) -> None:
    source = storage.incoming()
    source.mkdir()
    (source / "features.npy").write_bytes(b"12345")
    stored = storage.commit(source)
    (storage.artifact(stored.sha256) / "features.npy").write_bytes(b"123")
    stage_id = desk.queue()
    with desk.sessions.begin() as session:
        files = [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in stored.files]
        artifact = Artifact(
            kind="feature_set", role="features", sha256=stored.sha256, bytes=stored.bytes, files=files, summary={}
        )
        session.add(artifact)
        session.flush()
        session.add(StageInput(stage_id=stage_id, role="features", artifact_id=artifact.id))
    supervisor.ring(stage_id)
    stage = desk.stage(stage_id)
    assert (stage.state, stage.reason) == ("failed", "artifact_corrupt")
    assert "features.npy" in (stage.detail or "")


def test_a_stage_cancelled_while_queued_is_never_started(desk: Desk, supervisor: Supervisor) -> None:
    stage_id = desk.queue()
    desk.cancel(stage_id)
    assert not supervisor.ring(stage_id)
    assert (desk.stage(stage_id).state, desk.run(stage_id).state) == ("cancelled", "cancelled")
    assert desk.attempts(stage_id) == []


def test_a_cancelled_stage_stops_at_its_next_look(
    desk: Desk, supervisor: Supervisor, gate: Path, background: ThreadPoolExecutor
) -> None:
    stage_id = desk.queue(gate=gate)
    work = background.submit(supervisor.ring, stage_id)
    desk.until_counted(stage_id)
    for _ in range(2):
        desk.cancel(stage_id)
    work.result()
    assert desk.outcomes(stage_id) == [("cancelled", "cancelled")]
    assert (desk.stage(stage_id).state, desk.run(stage_id).state) == ("cancelled", "cancelled")


def test_a_cancelled_run_resumes_from_what_it_saved(
    desk: Desk, supervisor: Supervisor, gate: Path, background: ThreadPoolExecutor
) -> None:
    stage_id = desk.queue(gate=gate)
    with desk.sessions.begin() as session:
        session.execute(update(Stage).values(key="given"))
    work = background.submit(supervisor.ring, stage_id)
    desk.until_counted(stage_id)
    desk.cancel(stage_id)
    work.result()
    gate.touch()
    with desk.sessions.begin() as session:
        runs.resume(session, desk.run(stage_id).id)
    assert supervisor.ring(stage_id)
    assert desk.outcomes(stage_id) == [("cancelled", "cancelled"), ("succeeded", None)]
    assert desk.outputs(stage_id)[0].summary == {"start": 2}


def test_a_child_that_ignores_the_stop_is_killed_after_the_grace(
    desk: Desk, settings: Settings, drain: threading.Event, gate: Path, background: ThreadPoolExecutor
) -> None:
    impatient = Supervisor(settings.model_copy(update={"cancel_grace_seconds": 0.5}), "tester", "cpu", drain, PLAY)
    stage_id = desk.queue(gate=gate, deaf=True)
    work = background.submit(impatient.ring, stage_id)
    desk.until_counted(stage_id)
    desk.cancel(stage_id)
    work.result()
    assert desk.outcomes(stage_id) == [("cancelled", "cancelled")]
    assert "was killed" in (desk.stage(stage_id).detail or "")


def test_a_cancel_between_claim_and_start_starts_nothing(desk: Desk, supervisor: Supervisor, storage: Storage) -> None:
    stage_id = desk.queue()
    claim = supervisor.claim(stage_id)
    assert claim is not None
    desk.cancel(stage_id)
    supervisor.work(claim)
    assert desk.outcomes(stage_id) == [("cancelled", "cancelled")]
    assert not storage.attempt(stage_id, 1).exists()


def test_a_draining_worker_hands_the_stage_back(
    desk: Desk,
    supervisor: Supervisor,
    settings: Settings,
    drain: threading.Event,
    gate: Path,
    background: ThreadPoolExecutor,
) -> None:
    stage_id = desk.queue(gate=gate)
    work = background.submit(supervisor.ring, stage_id)
    desk.until_counted(stage_id)
    drain.set()
    work.result()
    stage = desk.stage(stage_id)
    assert (stage.state, stage.failure_count) == ("queued", 0)
    assert not supervisor.ring(stage_id)
    gate.touch()
    assert Supervisor(settings, "another", "cpu", threading.Event(), PLAY).ring(stage_id)
    assert desk.outcomes(stage_id) == [("drained", "drained"), ("succeeded", None)]
    assert desk.outputs(stage_id)[0].summary == {"start": 2}


def test_a_stage_that_is_silent_too_long_is_given_up(
    desk: Desk, settings: Settings, drain: threading.Event, gate: Path
) -> None:
    strict = Supervisor(settings.model_copy(update={"stall_seconds": 3}), "tester", "cpu", drain, PLAY)
    stage_id = desk.queue(gate=gate, max_attempts=1)
    strict.ring(stage_id)
    assert (desk.stage(stage_id).state, desk.stage(stage_id).reason) == ("failed", "stalled")


def test_output_of_a_lost_attempt_is_dropped(
    desk: Desk, supervisor: Supervisor, gate: Path, background: ThreadPoolExecutor
) -> None:
    stage_id = desk.queue(gate=gate)
    work = background.submit(supervisor.ring, stage_id)
    desk.until_counted(stage_id)
    with desk.sessions.begin() as session:
        session.execute(update(Stage).values(attempt_no=2, owner="another", lease_expires_at=func.now()))
    work.result()
    stage = desk.stage(stage_id)
    assert (stage.state, stage.attempt_no, stage.owner) == ("running", 2, "another")
    assert desk.outputs(stage_id) == []


def test_postgres_may_be_away_for_a_while(
    desk: Desk,
    supervisor: Supervisor,
    gate: Path,
    background: ThreadPoolExecutor,
    outage: Outage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage_id = desk.queue(gate=gate)
    work = background.submit(supervisor.ring, stage_id)
    desk.until_counted(stage_id)
    with outage:
        gate.touch()
        eventually(lambda: "heartbeat_unanswered" in capsys.readouterr().out)
    assert work.result()
    assert desk.outcomes(stage_id) == [("succeeded", None)]


def test_postgres_away_beyond_the_limit_ends_the_work(
    desk: Desk,
    settings: Settings,
    drain: threading.Event,
    gate: Path,
    background: ThreadPoolExecutor,
    outage: Outage,
) -> None:
    limited = Supervisor(settings.model_copy(update={"offline_seconds": 3}), "tester", "cpu", drain, PLAY)
    stage_id = desk.queue(gate=gate)
    work = background.submit(limited.ring, stage_id)
    desk.until_counted(stage_id)
    with outage:
        work.result()
    assert desk.outcomes(stage_id) == [("running", None)]
