"""Renews an attempt's lease beside the work, and brings back what is asked of it."""

import threading
import time
from contextvars import copy_context
from typing import Self

import structlog
from sqlalchemy.orm import Session, sessionmaker

from worker import leases
from worker.database import UNREACHABLE

log = structlog.get_logger(__name__)


class Heartbeat:
    """A thread that beats until `close`; its connection is its own, so nothing else can delay it.

    An unreachable Postgres is no answer: the attempt stays ours until Postgres itself says that it isn't.
    """

    def __init__(
        self, sessions: sessionmaker[Session], claim: leases.Claim, every_seconds: float, lease_seconds: float
    ) -> None:
        self.cancel = False
        self.lost = False
        self._sessions = sessions
        self._claim = claim
        self._every_seconds = every_seconds
        self._lease_seconds = lease_seconds
        self._answered_at = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=copy_context().run, args=(self._beat_on,), daemon=True)

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def offline_seconds(self) -> float:
        """How long ago Postgres last answered."""
        return time.monotonic() - self._answered_at

    def beat(self) -> None:
        try:
            with self._sessions.begin() as session:
                orders = leases.heartbeat(session, self._claim, self._lease_seconds)
        except UNREACHABLE as error:
            log.warning("heartbeat_unanswered", error=str(error).splitlines()[0])
            return
        self._answered_at = time.monotonic()
        self.lost = orders is None
        self.cancel = self.cancel or (orders is not None and orders.cancel)

    def _beat_on(self) -> None:
        while not self._closed.wait(self._every_seconds) and not self.lost:
            self.beat()
