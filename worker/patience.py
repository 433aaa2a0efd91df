"""Waiting for servers that start beside us, or that are gone for a while."""

import threading
from collections.abc import Callable, Iterator

import structlog
from celery import Celery
from sqlalchemy import select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from app.runs.tables import Stage
from worker.celery_app import BROKER_GONE
from worker.database import UNREACHABLE

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0

log = structlog.get_logger(__name__)


def pauses() -> Iterator[float]:
    """Seconds between tries: doubling, then steady."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(LONGEST_PAUSE, pause * 2)


def wait_for_database(sessions: sessionmaker[Session], stop: threading.Event) -> None:
    """Until Postgres answers and its migrations are there."""

    def look() -> None:
        with sessions() as session:
            session.execute(select(Stage.id).limit(1))

    _wait("postgres", look, (*UNREACHABLE, ProgrammingError), stop)


def wait_for_broker(app: Celery, stop: threading.Event) -> None:
    def look() -> None:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)

    _wait("broker", look, BROKER_GONE, stop)


def _wait(server: str, look: Callable[[], None], unready: tuple[type[Exception], ...], stop: threading.Event) -> None:
    """One line when there is something to wait for, one when it is over; returns early when `stop` is set."""
    for tries, pause in enumerate(pauses()):
        try:
            look()
        except unready as error:
            if tries == 0:
                log.warning("waiting", server=server, error=str(error).splitlines()[0])
        else:
            if tries:
                log.info("found", server=server)
            return
        if stop.wait(pause):
            return
