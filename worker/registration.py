"""The worker's row: people and the scheduler see which workers live."""

import os
import secrets
import socket
import threading
from typing import Self

import structlog
from sqlalchemy import Executable, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from app.workers.tables import Worker
from worker.database import MOMENT, UNREACHABLE
from worker.device import device_name

log = structlog.get_logger(__name__)


def new_name() -> str:
    """`host:pid:random`: never the same twice, so a restarted worker is another owner."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


class Registration:
    """Keeps `seen_at` fresh while it is open; leaves no row behind when closed in peace."""

    def __init__(self, sessions: sessionmaker[Session], name: str, device: str, every_seconds: float) -> None:
        self._sessions = sessions
        self._facts = {
            "name": name,
            "host": socket.gethostname(),
            "device": device,
            "device_name": device_name(device),
        }
        self._every_seconds = every_seconds
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()
        self._write(delete(Worker).where(Worker.name == self._facts["name"]))

    def _keep(self) -> None:
        seen = {"seen_at": MOMENT}
        upsert = insert(Worker).values(**self._facts, **seen).on_conflict_do_update(index_elements=["name"], set_=seen)
        while True:
            self._write(upsert)
            if self._closed.wait(self._every_seconds):
                return

    def _write(self, statement: Executable) -> None:
        try:
            with self._sessions.begin() as session:
                session.execute(statement)
        except UNREACHABLE as error:
            log.warning("registration_waits", error=str(error).splitlines()[0])
