"""Brings the schema up to date: `python -m app.db.migrate`. Many may start it at once; one migrates, the rest wait."""

import time
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from alembic import command
from app.db.locks import MIGRATION
from app.settings import DatabaseSettings

ROOT = Path(__file__).parents[2]


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.attributes["connection"] = connection
    return config


def head_revision() -> str | None:
    """The newest revision this code knows."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def upgrade(url: str, wait_seconds: float = 60) -> None:
    """Upgrade to head, once Postgres answers; raises OperationalError when it doesn't within `wait_seconds`."""
    engine = create_engine(url, connect_args={"connect_timeout": 10})
    try:
        _wait(engine, wait_seconds)
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION})
            command.upgrade(alembic_config(connection), "head")
    finally:
        engine.dispose()


def _wait(engine: Engine, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            engine.connect().close()
            return
        except OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    upgrade(DatabaseSettings().database_url.get_secret_value())
