"""Curves: thinned to what was asked for, extremes kept, newest attempts winning."""

import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from app.journal.tables import Metric
from tests.app.hand import Hand

Json = dict[str, Any]
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def run(hand: Hand, cells: Json, submit: Callable[..., Json]) -> str:
    return str(submit(stages=["pretrain", "extract"])["id"])


def write(hand: Hand, run: str, values: dict[int, float], name: str = "loss", attempt_no: int = 1) -> None:
    stage_id: uuid.UUID = hand.stage(run, "pretrain").id
    rows = [
        {"stage_id": stage_id, "name": name, "step": step, "attempt_no": attempt_no, "value": value, "at": MOMENT}
        for step, value in values.items()
    ]
    with hand.sessions.begin() as session:
        session.execute(insert(Metric), rows)


def series(api: TestClient, run: str, **params: Any) -> list[Json]:  # noqa: ANN401
    found: list[Json] = api.get(f"/runs/{run}/metrics", params=params).json()["series"]
    return found


def test_a_short_curve_comes_whole(api: TestClient, hand: Hand, run: str) -> None:
    write(hand, run, {0: 6.5, 10: 5.5, 20: 4.5})
    assert series(api, run) == [
        {"stage": "pretrain", "name": "loss", "points": [[0, 6.5], [10, 5.5], [20, 4.5]], "total": 3}
    ]


def test_a_long_curve_is_thinned_and_keeps_its_spikes(api: TestClient, hand: Hand, run: str) -> None:
    values = {step: math.sin(step / 50) for step in range(3000)} | {1234: 99.0, 2345: -99.0}
    write(hand, run, values)
    [curve] = series(api, run, points=101)
    assert curve["total"] == 3000
    assert 90 <= len(curve["points"]) <= 101
    assert [1234, 99.0] in curve["points"]
    assert [2345, -99.0] in curve["points"]
    assert [step for step, _ in curve["points"]] == sorted(step for step, _ in curve["points"])


def test_of_a_step_written_twice_the_newest_attempt_counts(api: TestClient, hand: Hand, run: str) -> None:
    write(hand, run, {0: 1.0, 1: 2.0}, attempt_no=1)
    write(hand, run, {1: 20.0, 2: 30.0}, attempt_no=2)
    assert series(api, run)[0]["points"] == [[0, 1.0], [1, 20.0], [2, 30.0]]


def test_curves_are_chosen_by_stage_and_name(api: TestClient, hand: Hand, run: str) -> None:
    write(hand, run, {0: 1.0}, name="loss")
    write(hand, run, {0: 2.0}, name="accuracy")
    assert [curve["name"] for curve in series(api, run)] == ["accuracy", "loss"]
    assert [curve["name"] for curve in series(api, run, name="loss")] == ["loss"]
    assert series(api, run, stage="extract") == []


def test_what_is_not_finite_is_null(api: TestClient, hand: Hand, run: str) -> None:
    write(hand, run, {0: math.nan, 1: math.inf, 2: 1.0})
    assert series(api, run)[0]["points"] == [[0, None], [1, None], [2, 1.0]]
