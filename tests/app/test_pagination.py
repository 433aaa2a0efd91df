"""Keyset pages: everything once, newest first, stable while rows are added."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

Json = dict[str, Any]


def test_pages_hold_every_run_once_newest_first(api: TestClient, cells: Json, submit: Callable[..., Json]) -> None:
    made = [submit(stages=["pretrain"])["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = api.get(
            "/runs", params={"limit": 2, "kind": "pipeline", **({"cursor": cursor} if cursor else {})}
        ).json()
        seen += [run["id"] for run in page["items"]]
        if cursor is None:
            submit(stages=["pretrain"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_lists_are_narrowed(api: TestClient, cells: Json, submit: Callable[..., Json]) -> None:
    run = submit()
    assert [one["kind"] for one in api.get("/runs").json()["items"]] == ["pipeline", "ingest"]
    assert [one["id"] for one in api.get("/runs", params={"state": "queued", "dataset": "cells"}).json()["items"]] == [
        run["id"]
    ]


def test_a_foreign_cursor_and_a_bad_limit_are_refused(api: TestClient) -> None:
    for cursor in ("x", "bm90fG91cnM=", "💥"):
        answer = api.get("/runs", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")
    for limit in (0, 201, "many"):
        assert api.get("/runs", params={"limit": limit}).json()["errors"][0]["path"] == "query.limit"
