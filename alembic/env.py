"""Migrates the connection given by `app.db.migrate`, or PASSDOWN_DATABASE_URL for the `alembic` command."""

from sqlalchemy import Connection, create_engine

from alembic import context
from app.db.tables import Base
from app.settings import DatabaseSettings


def run_on(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


def run_offline() -> None:
    """`alembic upgrade head --sql`: the DDL as text."""
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run() -> None:
    given = context.config.attributes.get("connection")
    if context.is_offline_mode():
        run_offline()
    elif given is not None:
        run_on(given)
    else:
        with create_engine(DatabaseSettings().database_url.get_secret_value()).begin() as connection:
            run_on(connection)


run()
