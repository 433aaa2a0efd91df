"""Connections that notice a dead server within seconds instead of waiting for TCP to give up."""

from sqlalchemy import Engine, NullPool, create_engine, func
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings

UNREACHABLE = (OperationalError, InterfaceError)
"""What a restarting, overloaded or vanished Postgres raises; a later try may work."""

MOMENT = func.clock_timestamp()
"""Postgres' clock, now: the only one that leases are measured by."""

_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": "-c statement_timeout=20000 -c lock_timeout=15000 -c idle_in_transaction_session_timeout=60000",
}


def make_engine(settings: Settings, name: str) -> Engine:
    """An engine without a pool: a control plane has seconds between its statements, and no stale connections."""
    url = settings.database_url.get_secret_value()
    return create_engine(url, poolclass=NullPool, connect_args=_CONNECT | {"application_name": name})


def make_sessions(settings: Settings, name: str) -> sessionmaker[Session]:
    return sessionmaker(make_engine(settings, name), expire_on_commit=False)
