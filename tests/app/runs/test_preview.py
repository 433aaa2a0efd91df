"""GET /runs/{id}/preview: what a pretext task shows its network, as soon as the stage that trains on it has ended."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from app.artifacts.images import encode_png
from tests.app.hand import Hand

Json = dict[str, Any]
PNG = encode_png(bytes(range(12)), 2, 2)
TEACHER = {"model.pt": b"weights", "checkpoint.json": b"{}", "preview.png": PNG}


def test_the_preview_is_there_once_the_teacher_is(
    api: TestClient, hand: Hand, cells: Json, submit: Callable[..., Json]
) -> None:
    path = f"/runs/{submit()['id']}/preview"
    claim = hand.claim("pretrain")
    early = api.get(path)
    assert (early.status_code, early.json()["code"]) == (404, "preview_not_found")
    assert early.headers["content-type"] == "application/problem+json"
    assert "`pretrain` has succeeded, which is running" in early.json()["detail"]
    hand.finish(claim, TEACHER)
    answer = api.get(path)
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline")
    known = api.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert api.head(path).headers["content-length"] == str(len(PNG))


def test_a_teacher_taken_over_from_an_equal_run_brings_its_preview(
    api: TestClient, hand: Hand, cells: Json, submit: Callable[..., Json]
) -> None:
    submit(stages=["pretrain"])
    hand.finish(hand.claim("pretrain"), TEACHER)
    again = submit(stages=["pretrain"])
    assert again["stages"][0]["state"] == "succeeded"
    assert api.get(f"/runs/{again['id']}/preview").content == PNG


def test_a_teacher_without_a_preview_says_so(
    api: TestClient, hand: Hand, cells: Json, submit: Callable[..., Json]
) -> None:
    run = submit(stages=["pretrain"])
    hand.work_off()
    answer = api.get(f"/runs/{run['id']}/preview")
    assert (answer.status_code, answer.json()["code"]) == (404, "preview_not_found")
    assert "before previews were made" in answer.json()["detail"]


def test_a_run_without_a_pretext_task_has_none(api: TestClient, cells: Json) -> None:
    answer = api.get(f"/runs/{cells['run']}/preview")
    assert (answer.status_code, answer.json()["code"]) == (404, "preview_not_found")
    assert "no pretext task" in answer.json()["detail"]
    assert api.get("/runs/nothing/preview").json()["code"] == "run_not_found"
