from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.hand import Hand


@pytest.fixture
def made(api: TestClient, hand: Hand, cells: dict[str, Any], submit: Callable[..., Any]) -> dict[str, str]:
    """A whole run's artifacts by role; the run itself under `run`."""
    run = submit()
    hand.work_off()
    artifacts = api.get(f"/runs/{run['id']}").json()["artifacts"]
    return {"run": run["id"], "store": cells["store"]} | {one["role"]: one["id"] for one in artifacts}
