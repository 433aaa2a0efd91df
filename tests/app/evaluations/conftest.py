from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.hand import Hand

Json = dict[str, Any]


@pytest.fixture
def networks(api: TestClient, hand: Hand, cells: Json, submit: Callable[..., Json]) -> dict[str, str]:
    """Role -> id of what a whole run on `cells` made: `teacher`, `student` and the rest."""
    run = submit(name="first")
    hand.work_off()
    return {one["role"]: one["id"] for one in api.get(f"/runs/{run['id']}").json()["artifacts"]}
