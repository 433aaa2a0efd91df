from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.embedded.servers import Servers
from app.main import create_app
from app.settings import Settings
from tests.app.hand import Hand, register
from tests.conftest import _database


@dataclass
class Library:
    """A service in which one whole run is done. Shared by tests that only read."""

    api: TestClient
    made: dict[str, str]
    """The run's artifacts by role, the image store included; the run itself under `run`."""
    root: Path
    """Of its storage."""


@pytest.fixture(scope="session")
def library(servers: Servers, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    images, storage = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("storage")
    for database_url in _database(servers, migrated):
        settings = Settings(
            database_url=SecretStr(database_url),
            broker_url=SecretStr(servers.valkey.url(1)),
            storage_root=storage,
            dataset_roots={"data": images},
        )
        with TestClient(create_app(settings), base_url="http://127.0.0.1") as api:
            yield Library(api, _whole_run(api, Hand(settings), images), storage)


def _whole_run(api: TestClient, hand: Hand, images: Path) -> dict[str, str]:
    register(api, images)
    hand.work_off()
    run = api.post("/runs", json={"dataset": "cells", "preset": "demo", "config": {"cluster": {"k": 2}}}).json()
    hand.work_off()
    hand.engine.dispose()
    artifacts = api.get(f"/runs/{run['id']}").json()["artifacts"]
    store = api.get("/datasets/cells").json()["store"]
    return {"run": run["id"], "store": store} | {one["role"]: one["id"] for one in artifacts}
