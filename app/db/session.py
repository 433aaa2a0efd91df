"""How to reach Postgres: one engine a process, short sessions."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings


def make_engine(settings: Settings) -> Engine:
    """Pre-pinged, so that a restarted Postgres costs no request; as many connections as the web server has threads."""
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=32,
        connect_args={"connect_timeout": 10, "application_name": "passdown"},
    )


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """`with sessions.begin() as session:` commits at the end, or rolls back and raises."""
    return sessionmaker(engine, expire_on_commit=False)
