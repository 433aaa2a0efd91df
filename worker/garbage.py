"""Files that nothing refers to any more. When in doubt they stay."""

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import delete, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.artifacts.tables import Artifact
from app.outbox.tables import Doorbell
from app.runs.tables import Stage, StageState
from app.storage import Storage
from app.workers.tables import Worker
from worker.database import MOMENT

GRACE = timedelta(days=1)
"""Nothing younger is touched, whatever the tables say: it may be about to be referred to."""
RESUMABLE = timedelta(days=14)
"""How long a failed or cancelled stage can be resumed from what it saved."""
SILENCE = timedelta(minutes=10)
"""A worker unseen for so long has no row any more."""

log = structlog.get_logger(__name__)


class Garbage:
    def __init__(self, sessions: sessionmaker[Session], storage: Storage) -> None:
        self._sessions = sessions
        self._storage = storage

    def collect(self) -> None:
        """Raises nothing: what could not be removed today is tried again."""
        for step in (self._forget_rows, self._remove_work, self._remove_incoming, self._remove_artifacts):
            try:
                step()
            except (SQLAlchemyError, OSError) as error:
                log.warning("garbage_stays", step=step.__name__, error=str(error).splitlines()[0])

    def _forget_rows(self) -> None:
        with self._sessions.begin() as session:
            session.execute(delete(Worker).where(Worker.seen_at < MOMENT - SILENCE))
            session.execute(delete(Doorbell).where(Doorbell.sent_at < MOMENT - GRACE))

    def _remove_work(self) -> None:
        """Work directories of stages that are done, that nobody resumed in time, or that no longer exist."""
        folders = {path.name: path for path in _entries(self._storage.root / "work")}
        with self._sessions() as session:
            rows = session.execute(select(Stage.id, Stage.state, Stage.finished_at))
            stages = {str(stage_id): (state, finished_at) for stage_id, state, finished_at in rows}
        for name, folder in folders.items():
            state, finished_at = stages.get(name, (None, None))
            unknown = state is None and _is_old(folder)
            if unknown or state == StageState.succeeded or _is_forgotten(finished_at):
                _remove(folder)

    def _remove_incoming(self) -> None:
        for path in _entries(self._storage.root / "incoming"):
            if _is_old(path):
                _remove(path)

    def _remove_artifacts(self) -> None:
        for shelf in _entries(self._storage.root / "artifacts"):
            old = [path for path in _entries(shelf) if _is_old(path)]
            used = self._used([path.name for path in old])
            for path in old:
                if path.name not in used:
                    self._remove_artifact(path)

    def _used(self, digests: list[str]) -> set[str]:
        """Those of the digests that an artifact has, or had until a short while ago."""
        if not digests:
            return set()
        alive = or_(Artifact.deleted_at.is_(None), Artifact.deleted_at > MOMENT - GRACE)
        with self._sessions() as session:
            return set(session.scalars(select(Artifact.sha256).where(Artifact.sha256.in_(digests), alive)))

    def _remove_artifact(self, path: Path) -> None:
        """Moved aside first, then looked at again: `Storage.commit` may have taken it over in between."""
        aside = self._storage.incoming()
        os.rename(path, aside)
        if not _is_old(aside) or self._used([path.name]):
            os.rename(aside, path)
        else:
            _remove(aside)


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _is_old(path: Path) -> bool:
    """Nothing in it, nor itself, was changed within the grace."""
    try:
        newest = max(entry.stat().st_mtime for entry in (path, *path.rglob("*")))
    except FileNotFoundError:
        return False
    return time.time() - newest > GRACE.total_seconds()


def _is_forgotten(finished_at: datetime | None) -> bool:
    return finished_at is not None and datetime.now(UTC) - finished_at > RESUMABLE


def _remove(path: Path) -> None:
    log.info("removing", path=str(path))
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
