"""Log lines, page by page or as text."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.journal import logs
from app.journal.tables import LogLine
from tests.app.hand import Hand

Json = dict[str, Any]


@pytest.fixture
def run(hand: Hand, cells: Json, submit: Callable[..., Json]) -> str:
    made = submit(stages=["pretrain", "extract"])
    with hand.sessions.begin() as session:
        for number in range(5):
            stage = "extract" if number == 4 else "pretrain"
            moment = datetime(2026, 1, 1, 0, 0, number, tzinfo=UTC)
            line = {"stage": stage, "attempt_no": 1, "level": "info", "message": f"line {number}", "at": moment}
            session.add(LogLine(run_id=hand.run(made["id"]).id, **line))
            session.flush()
    return str(made["id"])


def test_pages_are_oldest_first(api: TestClient, run: str) -> None:
    first = api.get(f"/runs/{run}/logs", params={"limit": 3}).json()
    assert [line["message"] for line in first["items"]] == ["line 0", "line 1", "line 2"]
    rest = api.get(f"/runs/{run}/logs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [line["message"] for line in rest["items"]] == ["line 3", "line 4"]
    assert rest["next_cursor"] is None
    last = rest["items"][-1]["id"]
    assert api.get(f"/runs/{run}/logs", params={"cursor": last}).json()["items"] == []


def test_one_stage_is_asked_for(api: TestClient, run: str) -> None:
    page = api.get(f"/runs/{run}/logs", params={"stage": "extract"}).json()
    assert [line["message"] for line in page["items"]] == ["line 4"]


def test_as_text_everything_comes_at_once(api: TestClient, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BATCH", 2)
    text = api.get(f"/runs/{run}/logs", headers={"Accept": "text/plain"}).text
    assert text.splitlines()[0] == "2026-01-01T00:00:00.000+00:00 info    pretrain#1 line 0"
    assert len(text.splitlines()) == 5
    assert api.get(f"/runs/{run}/logs", params={"format": "text"}).text == text
