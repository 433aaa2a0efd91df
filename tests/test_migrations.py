"""The migrations make exactly the tables that the code declares, from nothing, and take them away again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, inspect
from sqlalchemy.exc import OperationalError

from alembic import command
from app.db.migrate import alembic_config, head_revision, upgrade
from app.db.tables import Base


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    engine = create_engine(empty_database_url)
    yield engine
    engine.dispose()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_head_is_the_tables(engine: Engine, empty_database_url: str) -> None:
    upgrade(empty_database_url)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
        assert tables(connection) == set(Base.metadata.tables)


def test_down_leaves_nothing_and_up_works_again(engine: Engine, empty_database_url: str) -> None:
    upgrade(empty_database_url)
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
        assert tables(connection) == set()
    upgrade(empty_database_url)
    with engine.connect() as connection:
        assert tables(connection) == set(Base.metadata.tables)


def test_many_who_migrate_at_once_migrate_once(engine: Engine, empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as migrators:
        list(migrators.map(upgrade, [empty_database_url] * 4))
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_heads() == (head_revision(),)


def test_a_database_that_never_answers_is_an_error() -> None:
    with pytest.raises(OperationalError):
        upgrade("postgresql+psycopg://nobody@127.0.0.1:1/none", wait_seconds=0)
