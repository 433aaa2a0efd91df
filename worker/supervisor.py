"""One stage, from the claim to its last write: a child does the work, this process answers for it."""

import errno
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.runs.tables import Stage, StageState
from app.settings import Settings
from app.storage import Storage
from worker import leases
from worker.child_process import CHILD_COMMAND, ChildProcess, child_environment
from worker.config.pipeline import STAGES
from worker.config.reasons import Reason
from worker.database import UNREACHABLE, make_sessions
from worker.heartbeat import Heartbeat
from worker.leases import Claim, Failure, LeaseLost, NewArtifact
from worker.patience import pauses
from worker.preparation import earlier_attempts, prepare
from worker.protocol import Failed, Finished, Stopped, Task
from worker.stages.contract import Produced, StageError
from worker.watch import End, Order, Watch

KEPT_ATTEMPTS = 2
"""Work directories an unfinished stage keeps: the newest, and one more in case that holds nothing to resume from."""

DETAIL_CHARACTERS = 4000

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Supervisor:
    """Works on one stage at a time for one device; setting `drain` makes it hand back what it works on."""

    def __init__(
        self,
        settings: Settings,
        owner: str,
        device: str,
        drain: threading.Event,
        child_command: Sequence[str] = CHILD_COMMAND,
    ) -> None:
        self._settings = settings
        self._storage = Storage(settings.storage_root.absolute())
        self._sessions: sessionmaker[Session] = make_sessions(settings, owner)
        self._owner = owner
        self._device = device
        self._drain = drain
        self._child_command = child_command

    def ring(self, stage_id: uuid.UUID) -> bool:
        """Work on the stage if it is to be had. Raises nothing: what can't be told to Postgres is only logged.

        True when it was claimed. A doorbell that came twice, late, or for a stage of others changes nothing.
        """
        try:
            claim = self.claim(stage_id)
            if claim is not None:
                self.work(claim)
        except LeaseLost:
            log.warning("lease_lost", stage_id=str(stage_id))
            return True
        except UNREACHABLE as error:
            log.error("postgres_gone", stage_id=str(stage_id), error=str(error).splitlines()[0])
            return False
        return claim is not None

    def claim(self, stage_id: uuid.UUID) -> Claim | None:
        if self._drain.is_set():
            return None
        with self._sessions.begin() as session:
            return leases.claim(session, stage_id, self._owner, self._device, self._settings.lease_seconds)

    def work(self, claim: Claim) -> None:
        """Carry the attempt to its end; LeaseLost, or one of `UNREACHABLE`, where Postgres can't be told of it."""
        names = {"run": str(claim.run_id), "stage": claim.name, "attempt_no": claim.attempt_no}
        every, lease = self._settings.heartbeat_seconds, self._settings.lease_seconds
        with structlog.contextvars.bound_contextvars(**names):
            log.info("claimed", device=self._device)
            with Heartbeat(self._sessions, claim, every, lease) as heartbeat:
                self._attempt(claim, heartbeat)
            self._tidy(claim)

    def _attempt(self, claim: Claim, heartbeat: Heartbeat) -> None:
        try:
            task = self._transact(heartbeat, lambda session: prepare(session, self._settings, claim, self._device))
            # A cancel may have come between the claim and here.
            end = None if heartbeat.cancel else self._run_child(claim, task, heartbeat)
            self._settle(claim, task, end, heartbeat)
        except (LeaseLost, *UNREACHABLE):
            raise
        except StageError as error:
            self._fail(claim, heartbeat, Failure(error.reason, str(error)))
        except Exception as error:
            log.exception("attempt_broke")
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = Reason.disk_full if full else Reason.crashed
            self._fail(claim, heartbeat, Failure(reason, f"{type(error).__name__}: {error}"[:DETAIL_CHARACTERS]))

    def _run_child(self, claim: Claim, task: Task, heartbeat: Heartbeat) -> End:
        task.workdir.mkdir(parents=True, exist_ok=True)
        environment = child_environment(os.environ, self._device)
        child = ChildProcess(self._child_command, task, environment)
        try:
            log.info("child_started", pid=child.pid, resume_from=task.resume_from and str(task.resume_from))
            end = Watch(self._settings, self._sessions, claim, child, heartbeat, self._drain).until_end()
        finally:
            child.close()
        log.info("child_ended", exit_code=end.exit_code, order=end.order, ending=end.ending and end.ending.type)
        return end

    def _settle(self, claim: Claim, task: Task, end: End | None, heartbeat: Heartbeat) -> None:
        """Turn the child's end into the attempt's."""
        if end is None or isinstance(end.ending, Stopped):
            self._transact(heartbeat, lambda session: leases.release(session, claim))
        elif end.order is Order.lost:
            raise LeaseLost(claim)
        elif end.order is Order.offline:
            # Long since expired: whoever sweeps the leases will tell what became of the attempt.
            log.error("postgres_gone")
        elif isinstance(end.ending, Finished):
            artifacts = [self._store(task, role, produced) for role, produced in _outputs(task, end.ending).items()]
            self._transact(heartbeat, lambda session: leases.succeed(session, claim, artifacts))
        elif end.order in (Order.cancel, Order.drain) and end.killed:
            detail = f"The stage did not stop within {self._settings.cancel_grace_seconds:g} s and was killed."
            self._transact(heartbeat, lambda session: leases.release(session, claim, detail))
        else:
            self._fail(claim, heartbeat, self._failure(end))

    def _failure(self, end: End) -> Failure:
        if isinstance(end.ending, Failed):
            return Failure(end.ending.reason, end.ending.message[-DETAIL_CHARACTERS:], end.exit_code)
        if end.order is Order.stalled:
            detail = f"Nothing was heard of the stage for {self._settings.stall_seconds:g} s."
            return Failure(Reason.stalled, detail, end.exit_code)
        if end.exit_code == -signal.SIGKILL:
            detail = "The stage's process was killed from outside, most likely because the machine's memory was full."
            return Failure(Reason.killed, detail, end.exit_code)
        cause = signal.Signals(-end.exit_code).name if end.exit_code < 0 else f"exit code {end.exit_code}"
        detail = f"The stage's process ended by {cause}. {end.last_words}".strip()
        return Failure(Reason.crashed, detail[:DETAIL_CHARACTERS], end.exit_code)

    def _store(self, task: Task, role: str, produced: Produced) -> NewArtifact:
        stored = self._storage.commit(produced.path)
        return NewArtifact(role=role, kind=produced.kind, stored=stored, summary=produced.summary)

    def _fail(self, claim: Claim, heartbeat: Heartbeat, failure: Failure) -> None:
        log.warning("attempt_failed", reason=failure.reason, detail=failure.detail, exit_code=failure.exit_code)
        pause = self._settings.retry_seconds
        self._transact(heartbeat, lambda session: leases.fail(session, claim, failure, pause))

    def _transact(self, heartbeat: Heartbeat, work: Callable[[Session], T]) -> T:
        """`work` in one transaction, tried again while Postgres is away, up to `offline_seconds`."""
        for pause in pauses():
            try:
                with self._sessions.begin() as session:
                    return work(session)
            except UNREACHABLE:
                if heartbeat.offline_seconds() > self._settings.offline_seconds:
                    raise
                time.sleep(pause)
        raise AssertionError("pauses() has no end")

    def _tidy(self, claim: Claim) -> None:
        """Work directories of a finished stage go; an unfinished one keeps what it may resume from."""
        workdir = self._storage.attempt(claim.stage_id, claim.attempt_no)
        with self._sessions() as session:
            state = session.scalar(select(Stage.state).where(Stage.id == claim.stage_id))
        if state == StageState.succeeded:
            shutil.rmtree(workdir.parent, ignore_errors=True)
        elif state == StageState.running:
            # Another worker's attempt by now: its directories are its own business.
            return
        else:
            for old in earlier_attempts(workdir)[KEPT_ATTEMPTS - 1 :]:
                shutil.rmtree(old, ignore_errors=True)


def _outputs(task: Task, finished: Finished) -> dict[str, Produced]:
    """What the stage made, if it is what the graph of stages promises."""
    made = {role: produced.kind for role, produced in finished.outputs.items()}
    if made != STAGES[task.stage].outputs:
        raise StageError(Reason.crashed, f"The stage {task.stage} made {made}, not {STAGES[task.stage].outputs}.")
    for role, produced in finished.outputs.items():
        if not produced.path.is_dir() or task.workdir not in produced.path.parents:
            raise StageError(Reason.crashed, f"The stage's {role} is no directory below its work directory.")
    return finished.outputs
