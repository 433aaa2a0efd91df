"""Whether a run would run: each part that it takes, looked at."""

from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.db.locks import SCHEDULER
from app.settings import Settings
from app.workers.live import live_workers

OK = "ok"

# A bigint lock shows as two halves.
_SCHEDULER_LOCK = text("""
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE datname = current_database() AND locktype = 'advisory' AND granted AND objsubid = 1
    AND classid = CAST(:high AS oid) AND objid = CAST(:low AS oid)
""")


def check_parts(sessions: sessionmaker[Session], settings: Settings, head: str | None) -> dict[str, str]:
    """Part -> `ok`, or what is wrong with it."""
    return {
        "database": _of_database(sessions, _answers),
        "migrations": _of_database(sessions, lambda session: _migrated(session, head)),
        "broker": _broker(settings),
        "scheduler": _of_database(sessions, _scheduler),
        "worker": _of_database(sessions, lambda session: _worker(session, settings)),
    }


def scheduler_leads(session: Session) -> bool:
    lock = {"high": SCHEDULER >> 32, "low": SCHEDULER & 0xFFFF_FFFF}
    return bool(session.scalar(_SCHEDULER_LOCK, lock))


def _of_database(sessions: sessionmaker[Session], look: Callable[[Session], str]) -> str:
    try:
        with sessions() as session:
            return look(session)
    except SQLAlchemyError as error:
        return f"not readable: {type(error).__name__}"


def _answers(session: Session) -> str:
    session.execute(text("SELECT 1"))
    return OK


def _migrated(session: Session, head: str | None) -> str:
    current = session.scalar(text("SELECT version_num FROM alembic_version"))
    return OK if current == head else f"the database is at {current}, this code needs {head}"


def _scheduler(session: Session) -> str:
    return OK if scheduler_leads(session) else "no scheduler leads"


def _worker(session: Session, settings: Settings) -> str:
    return OK if live_workers(session, settings) else "no worker was seen lately"


def _broker(settings: Settings) -> str:
    url = settings.broker_url.get_secret_value()
    try:
        with Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as broker:
            broker.ping()
    except (RedisError, OSError) as error:
        return f"not reachable: {type(error).__name__}"
    return OK
