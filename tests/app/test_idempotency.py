"""The same Idempotency-Key twice is one run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi.testclient import TestClient

Json = dict[str, Any]
BODY = {"dataset": "cells", "preset": "demo", "config": {"cluster": {"k": 2}}, "stages": ["pretrain"]}


def post(api: TestClient, key: str, path: str = "/runs", **changes: Any) -> Any:  # noqa: ANN401
    return api.post(path, json=BODY | changes, headers={"Idempotency-Key": key})


def runs(api: TestClient) -> list[Json]:
    items: list[Json] = api.get("/runs", params={"kind": "pipeline"}).json()["items"]
    return items


def test_the_same_request_again_gets_the_same_answer(api: TestClient, cells: Json) -> None:
    first, second = post(api, "one"), post(api, "one")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["Location"] == f"/runs/{first.json()['id']}"
    assert len(runs(api)) == 1


def test_another_request_under_the_same_key_is_refused(api: TestClient, cells: Json) -> None:
    post(api, "one")
    answer = post(api, "one", name="other")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert len(runs(api)) == 1


def test_another_key_or_none_is_another_run(api: TestClient, cells: Json, submit: Callable[..., Json]) -> None:
    post(api, "one")
    post(api, "two")
    submit()
    assert len(runs(api)) == 3


def test_a_refused_request_leaves_its_key_free(api: TestClient, cells: Json) -> None:
    assert post(api, "one", dataset="nobody").status_code == 404
    assert post(api, "one").status_code == 202


def test_of_requests_at_once_one_makes_the_run(api: TestClient, cells: Json) -> None:
    with ThreadPoolExecutor(8) as senders:
        answers = list(senders.map(lambda _: post(api, "one"), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(runs(api)) == 1
