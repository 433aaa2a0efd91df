"""Log lines of a run, oldest first."""

import uuid
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.journal.tables import LogLine

BATCH = 1000


def read_logs(session: Session, run_id: uuid.UUID, stage: str | None, after: int, limit: int) -> Sequence[LogLine]:
    query = select(LogLine).where(LogLine.run_id == run_id, LogLine.id > after)
    if stage is not None:
        query = query.where(LogLine.stage == stage)
    return session.scalars(query.order_by(LogLine.id).limit(limit)).all()


def log_text(sessions: sessionmaker[Session], run_id: uuid.UUID, stage: str | None) -> Iterator[str]:
    """All lines as text, read in batches; no connection is held between them."""
    after = 0
    while True:
        with sessions() as session:
            lines = read_logs(session, run_id, stage, after, BATCH)
        yield "".join(_line(line) for line in lines)
        if len(lines) < BATCH:
            return
        after = lines[-1].id


def _line(line: LogLine) -> str:
    moment = line.at.isoformat(timespec="milliseconds")
    return f"{moment} {line.level:<7} {line.stage}#{line.attempt_no} {line.message}\n"
