"""What nobody else would do: ring doorbells, wake who waited, notice the dead, take out the garbage.

`python -m worker.scheduler`. Any number may run; the one that holds Postgres' advisory lock leads, the others wait for
it to vanish.
"""

import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from celery import Celery
from sqlalchemy import Connection, exists, func, or_, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from app.db.locks import SCHEDULER
from app.outbox.tables import Doorbell
from app.runs.advance import advance, held_back
from app.runs.tables import Run, Stage, StageState
from app.settings import Settings, get_settings
from app.storage import Storage
from app.workers.tables import Worker
from worker import leases
from worker.celery_app import BROKER_GONE, make_celery, ring
from worker.config.reasons import Reason
from worker.database import MOMENT, UNREACHABLE, make_engine
from worker.garbage import Garbage
from worker.leases import Claim
from worker.logs import configure_logging
from worker.patience import pauses, wait_for_database

BATCH = 100
GARBAGE_SECONDS = 600
STANDBY_SECONDS = 1.0

log = structlog.get_logger(__name__)


def main() -> None:
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Scheduler(get_settings(), stop).run()


class Scheduler:
    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._engine = make_engine(settings, "passdown-scheduler")
        self._sessions: sessionmaker[Session] = sessionmaker(self._engine, expire_on_commit=False)
        self._celery = make_celery(settings.broker_url.get_secret_value())
        self._collector: threading.Thread | None = None
        self._garbage = Garbage(self._sessions, Storage(settings.storage_root.absolute()))

    def run(self) -> None:
        """Lead, or wait to lead, until `stop` is set; no server's absence ends it."""
        wait_for_database(self._sessions, self._stop)
        back_off = pauses()
        while not self._stop.is_set():
            try:
                with self._engine.connect() as connection:
                    if self._leads(connection):
                        back_off = pauses()
                        self._lead(connection)
                self._stop.wait(STANDBY_SECONDS)
            except UNREACHABLE as error:
                log.warning("postgres_gone", error=str(error).splitlines()[0])
                self._stop.wait(next(back_off))

    def _leads(self, connection: Connection) -> bool:
        """The lock belongs to the connection's session: it falls free when this process or its network dies."""
        connection.execution_options(isolation_level="AUTOCOMMIT")
        return bool(connection.scalar(select(func.pg_try_advisory_lock(SCHEDULER))))

    def _lead(self, connection: Connection) -> None:
        log.info("leading")
        duties = self._duties()
        while not self._stop.is_set():
            # Raises when the connection, and with it the lock, is gone.
            connection.execute(text("SELECT 1"))
            for duty in duties:
                duty.do_in_time()
            self._stop.wait(self._settings.poll_seconds)

    def _duties(self) -> list["Duty"]:
        poll, sweep = self._settings.poll_seconds, self._settings.sweep_seconds
        # Whoever lived through our or Postgres' absence first gets the time to renew its lease.
        grace = self._settings.lease_seconds
        return [
            Duty(lambda: send_doorbells(self._sessions, self._celery), poll),
            Duty(lambda: ring_again(self._sessions, self._celery, self._settings), poll),
            Duty(lambda: advance_held_back(self._sessions), poll),
            Duty(self._sweep, sweep, first_after=grace),
            Duty(self._collect_garbage, GARBAGE_SECONDS, first_after=grace),
        ]

    def _sweep(self) -> None:
        settings = self._settings
        limit = 2 * settings.cancel_grace_seconds + settings.lease_seconds
        with self._sessions() as session:
            lost, obstinate = leases.expired(session), leases.overdue_cancels(session, limit)
        for claim in lost:
            self._end(claim, lambda session, claim: leases.lose(session, claim, settings.retry_seconds))
        detail = f"The worker did not end the stage within {limit:g} s."
        for claim in obstinate:
            self._end(claim, lambda session, claim: leases.cancelled(session, claim, Reason.cancel_timed_out, detail))

    def _end(self, claim: Claim, end: Callable[[Session, Claim], None]) -> None:
        """Each in its own transaction: one that can't be ended keeps no other waiting."""
        names = {"run": str(claim.run_id), "stage": claim.name, "attempt_no": claim.attempt_no}
        try:
            with self._sessions.begin() as session:
                end(session, claim)
            log.warning("attempt_given_up", **names)
        except leases.LeaseLost:
            log.info("attempt_lives", **names)
        except Exception:
            log.exception("attempt_stuck", **names)

    def _collect_garbage(self) -> None:
        """Beside the loop: removing a large directory must not keep doorbells waiting."""
        if self._collector is None or not self._collector.is_alive():
            self._collector = threading.Thread(target=self._garbage.collect, daemon=True)
            self._collector.start()


class Duty:
    """Something to do every so often. What goes wrong in one is logged and tried again, and stops no other."""

    def __init__(self, do: Callable[[], None], every_seconds: float, first_after: float = 0) -> None:
        self._do = do
        self._every_seconds = every_seconds
        self._due_at = time.monotonic() + first_after
        self._back_off = pauses()

    def do_in_time(self) -> None:
        if time.monotonic() < self._due_at:
            return
        pause = self._every_seconds
        try:
            self._do()
            self._back_off = pauses()
        except (*BROKER_GONE, *UNREACHABLE) as error:
            pause += next(self._back_off)
            log.warning("duty_waits", error=str(error).splitlines()[0])
        except Exception:
            pause += next(self._back_off)
            log.exception("duty_failed")
        self._due_at = time.monotonic() + pause


def send_doorbells(sessions: sessionmaker[Session], app: Celery) -> None:
    """Send what the outbox holds. Sent and not marked means sent twice, which is harmless."""
    with sessions.begin() as session:
        rung: list[uuid.UUID] = []
        unsent = select(Doorbell).where(Doorbell.sent_at.is_(None)).order_by(Doorbell.id).limit(BATCH)
        for doorbell in session.scalars(unsent.with_for_update(skip_locked=True)):
            ring(app, doorbell.stage_id, doorbell.queue)
            doorbell.sent_at = MOMENT
            rung.append(doorbell.stage_id)
        _mark_rung(session, rung)


def ring_again(sessions: sessionmaker[Session], app: Celery, settings: Settings) -> None:
    """Ring for stages whose doorbell was lost, or whose retry is due.

    Only while a worker that fits idles: busy ones would find their queue full of old doorbells.
    """
    seen_within = timedelta(seconds=settings.lease_seconds)
    idle = exists().where(
        Worker.seen_at > MOMENT - seen_within,
        or_(Run.device == "any", func.split_part(Worker.device, ":", 1) == Run.device),
        ~exists().where(Stage.owner == Worker.name, Stage.state == StageState.running).correlate(Worker),
    )
    overdue = func.coalesce(Stage.rung_at, Stage.queued_at) < MOMENT - timedelta(seconds=settings.ring_again_seconds)
    retry = Stage.rung_at.is_(None) & Stage.not_before.is_not(None)
    waiting = (
        select(Stage.id, Run.device)
        .join(Run, Run.id == Stage.run_id)
        .where(Stage.state == StageState.queued, or_(Stage.not_before.is_(None), Stage.not_before <= MOMENT))
        .where(or_(overdue, retry), idle)
        .order_by(Stage.queued_at)
        .limit(BATCH)
    )
    with sessions.begin() as session:
        rung = session.execute(waiting).all()
        for stage_id, device in rung:
            ring(app, stage_id, device)
        _mark_rung(session, [stage_id for stage_id, _ in rung])


def advance_held_back(sessions: sessionmaker[Session]) -> None:
    """Let the stages go on that waited for the same work in another run; each run in its own transaction."""
    with sessions() as session:
        runs = held_back(session)
    for run_id in runs:
        try:
            with sessions.begin() as session:
                advance(session, run_id)
        except UNREACHABLE:
            raise
        except Exception:
            log.exception("run_stuck", run=str(run_id))


def _mark_rung(session: Session, stage_ids: Sequence[uuid.UUID]) -> None:
    # A row that is being written is being claimed, or will be rung once more: not worth a deadlock.
    free = select(Stage.id).where(Stage.id.in_(stage_ids)).with_for_update(skip_locked=True)
    session.execute(
        update(Stage).where(Stage.id.in_(free)).values(rung_at=MOMENT),
        execution_options={"synchronize_session": False},
    )


if __name__ == "__main__":
    main()
