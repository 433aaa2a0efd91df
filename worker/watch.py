"""Standing beside a running child: pass on what it tells, and pass down what it is told."""

import queue
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

import structlog
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from worker import leases
from worker.child_process import ChildProcess
from worker.database import UNREACHABLE
from worker.heartbeat import Heartbeat
from worker.protocol import Ending
from worker.spool import Spool

LOOK_SECONDS = 0.1
RECORD_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Order(StrEnum):
    """Why a child was made to leave."""

    cancel = "cancel"
    drain = "drain"
    stalled = "stalled"
    offline = "offline"
    lost = "lost"


@dataclass(frozen=True)
class End:
    """How a child ended: what it said at the end (None: nothing), its exit code, why it was made to leave."""

    ending: Ending | None
    exit_code: int
    order: Order | None
    killed: bool
    """True when it did not leave in time, or could not be given time."""
    last_words: str


class Watch:
    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        claim: leases.Claim,
        child: ChildProcess,
        heartbeat: Heartbeat,
        drain: threading.Event,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._claim = claim
        self._child = child
        self._heartbeat = heartbeat
        self._drain = drain
        self._spool = Spool()
        self._ending: Ending | None = None
        self._order: Order | None = None
        self._killed = False
        self._asked_at = 0.0
        self._moved_at = self._recorded_at = time.monotonic()

    def until_end(self) -> End:
        while not self._child.exited():
            self._take(LOOK_SECONDS)
            self._record_in_time()
            self._give_orders()
        exit_code = self._child.close()
        self._take(0)
        self._record()
        return End(self._ending, exit_code, self._order, self._killed, self._child.last_words)

    def _take(self, wait_seconds: float) -> None:
        """Everything the child has told by now; waits this long for the first word."""
        try:
            event = self._child.events.get(timeout=wait_seconds) if wait_seconds else self._child.events.get_nowait()
            while True:
                self._moved_at = time.monotonic()
                if isinstance(event, get_args(Ending)):
                    self._ending = event
                else:
                    self._spool.add(event)
                event = self._child.events.get_nowait()
        except queue.Empty:
            return

    def _record_in_time(self) -> None:
        if time.monotonic() - self._recorded_at >= RECORD_SECONDS:
            self._record()

    def _record(self) -> None:
        self._recorded_at = time.monotonic()
        report = self._spool.report()
        if report is None or self._heartbeat.lost:
            return
        try:
            with self._sessions.begin() as session:
                leases.record(session, self._claim, report)
        except leases.LeaseLost:
            self._heartbeat.lost = True
        except UNREACHABLE as error:
            log.warning("report_waits", error=str(error).splitlines()[0])
        else:
            self._spool.clear()

    def _give_orders(self) -> None:
        if self._heartbeat.lost:
            self._kill(Order.lost)
        elif self._heartbeat.offline_seconds() > self._settings.offline_seconds:
            self._kill(Order.offline)
        elif time.monotonic() - self._moved_at > self._settings.stall_seconds:
            self._kill(Order.stalled)
        elif self._heartbeat.cancel:
            self._ask(Order.cancel)
        elif self._drain.is_set():
            self._ask(Order.drain)

    def _ask(self, order: Order) -> None:
        if self._order is None:
            self._order = order
            self._asked_at = time.monotonic()
            log.info("stop_asked", order=order)
            self._child.stop()
        elif not self._killed and time.monotonic() - self._asked_at > self._settings.cancel_grace_seconds:
            self._kill(self._order)

    def _kill(self, order: Order) -> None:
        if not self._killed:
            self._order = order
            self._killed = True
            log.warning("killing", order=order)
            self._child.kill()
