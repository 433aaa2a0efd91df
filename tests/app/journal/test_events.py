"""Events: in order, without gaps, taken up where a client left off."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.journal import stream
from app.journal.events import append_event
from app.runs.tables import Run
from tests.app.hand import Hand

Json = dict[str, Any]


@pytest.fixture
def ended(api: TestClient, hand: Hand, cells: Json, submit: Callable[..., Json]) -> str:
    run = submit(stages=["pretrain"])
    hand.work_off()
    return str(run["id"])


def events(answer: Any) -> list[Json]:  # noqa: ANN401
    """The events of an SSE body; each must say its number as its id."""
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        event = json.loads(fields["data"])
        assert (fields["id"], fields["event"]) == (str(event["seq"]), event["type"])
        found.append(event)
    return found


def test_the_stream_of_an_ended_run_tells_all_and_ends(api: TestClient, ended: str) -> None:
    answer = api.get(f"/runs/{ended}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer)
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert [event["type"] for event in told] == [
        "run.queued", "stage.queued", "stage.running",
        "run.running", "artifact.created", "stage.succeeded",
        "run.succeeded",
    ]  # fmt: skip


def test_a_client_goes_on_after_the_last_event_it_saw(api: TestClient, ended: str) -> None:
    told = events(api.get(f"/runs/{ended}/events"))
    assert events(api.get(f"/runs/{ended}/events", headers={"Last-Event-ID": "3"})) == told[3:]
    assert events(api.get(f"/runs/{ended}/events", params={"after": 5})) == told[5:]
    assert api.get(f"/runs/{ended}/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_long_streams_come_in_batches(api: TestClient, ended: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = events(api.get(f"/runs/{ended}/events"))
    monkeypatch.setattr(stream, "BATCH", 2)
    assert events(api.get(f"/runs/{ended}/events")) == told


def test_the_stream_of_a_live_run_ends_with_the_run(
    api: TestClient, hand: Hand, cells: Json, submit: Callable[..., Json]
) -> None:
    run = submit(stages=["pretrain"])
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(api.get, f"/runs/{run['id']}/events")
        hand.work_off()
        told = events(reading.result())
    assert told[-1]["type"] == "run.succeeded"


def test_an_unknown_run_has_no_stream(api: TestClient) -> None:
    assert api.get("/runs/nobody/events").json()["code"] == "run_not_found"


def test_many_writers_leave_no_gap(hand: Hand, ended: str) -> None:
    def write(number: int) -> int:
        with hand.sessions.begin() as session:
            return append_event(session, hand.run(ended).id, "note", {"number": number}).seq

    with ThreadPoolExecutor(8) as writers:
        numbers = list(writers.map(write, range(24)))
    assert sorted(numbers) == list(range(8, 32))
    with hand.sessions() as session:
        assert session.get_one(Run, hand.run(ended).id).event_seq == 31
