from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.app.hand import Hand, register

Json = dict[str, Any]


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def hand(settings: Settings) -> Iterator[Hand]:
    hand = Hand(settings)
    yield hand
    hand.engine.dispose()


@pytest.fixture
def cells(api: TestClient, hand: Hand, dataset_root: Path) -> Json:
    """A dataset that is ready: 6 images of 160 px."""
    register(api, dataset_root)
    assert hand.work_off() == ["ingest"]
    return api.get("/datasets/cells").json()


@pytest.fixture
def submit(api: TestClient) -> Callable[..., Json]:
    """POST /runs with the demo preset, k = 2 and whatever is given; the run as answered."""

    def submit(**fields: Any) -> Json:  # noqa: ANN401
        body = {"dataset": "cells", "preset": "demo", "config": {"cluster": {"k": 2}}, **fields}
        answer = api.post("/runs", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return submit
