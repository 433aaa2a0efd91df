"""Real servers for the tests: one PostgreSQL and one Valkey for the whole session, a fresh database for each test."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from app.db.migrate import upgrade
from app.embedded.servers import Servers
from app.settings import Settings

# A busy machine is no failure.
hypothesis_settings.register_profile("clockless", deadline=None)
hypothesis_settings.load_profile("clockless")

TEMPLATE = "migrated"
BROKER_DATABASE = 1


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    # Not below pytest's own folder: that is closed to the user PostgreSQL runs as where the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="passdown-tests-"))
    try:
        with Servers(folder, durable=False) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated(servers: Servers) -> str:
    """The name of a database that the real migrations made; tests clone it."""
    with servers.postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    upgrade(servers.postgres.url(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def empty_database_url(servers: Servers) -> Iterator[str]:
    """A database with nothing in it, for the migrations' own tests."""
    yield from _database(servers, "template1")


@pytest.fixture
def database_url(servers: Servers, migrated: str) -> Iterator[str]:
    yield from _database(servers, migrated)


@pytest.fixture
def broker_url(servers: Servers) -> str:
    url = servers.valkey.url(BROKER_DATABASE)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def storage_root(tmp_path: Path) -> Path:
    root = tmp_path / "storage"
    root.mkdir()
    return root


@pytest.fixture
def dataset_root(tmp_path: Path) -> Path:
    """The folder that datasets are registered from under the name `data`."""
    root = tmp_path / "images"
    root.mkdir()
    return root


@pytest.fixture
def settings(database_url: str, broker_url: str, storage_root: Path, dataset_root: Path) -> Settings:
    """Everything waits for fractions of a second, so that lost leases and late doorbells show within a test."""
    return Settings(
        database_url=SecretStr(database_url),
        broker_url=SecretStr(broker_url),
        storage_root=storage_root,
        dataset_roots={"data": dataset_root},
        heartbeat_seconds=0.2,
        lease_seconds=1.5,
        cancel_grace_seconds=5,
        stall_seconds=60,
        offline_seconds=10,
        sweep_seconds=0.2,
        ring_again_seconds=0.5,
        poll_seconds=0.05,
    )


def _database(servers: Servers, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with servers.postgres.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield servers.postgres.url(name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
