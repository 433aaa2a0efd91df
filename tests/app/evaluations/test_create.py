"""POST /evaluations: what is started, what is refused."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from tests.app.evaluations.judge import LINEAR, evaluate, judged, register_photographs, sheet
from tests.app.hand import SUMMARIES, Hand, register

Json = dict[str, Any]
DETECTION: Json = {"protocol": "voc_detection"}


def test_each_protocol_is_a_run_of_one_stage(api: TestClient, networks: dict[str, str]) -> None:
    runs = evaluate(api, networks["student"], {"protocol": "linear", "epochs": 5}, {"protocol": "nonlinear"})
    assert [run["kind"] for run in runs] == ["evaluation", "evaluation"]
    assert [run["inputs"] for run in runs] == [{"checkpoint": networks["student"]}] * 2
    linear, nonlinear = (run["stages"] for run in runs)
    assert [(stage["name"], stage["state"]) for stage in (*linear, *nonlinear)] == [("probe", "queued")] * 2
    settings = linear[0]["config"]["protocol"]
    assert (settings["protocol"], settings["epochs"], settings["max_dims"]) == ("linear", 5, 9600)
    assert nonlinear[0]["config"]["protocol"]["crops"] == 10
    listed = api.get("/runs", params={"kind": "evaluation"}).json()["items"]
    assert {run["id"] for run in listed} == {run["id"] for run in runs}


def test_the_answer_leads_to_the_checkpoints_evaluations(api: TestClient, networks: dict[str, str]) -> None:
    body = {"checkpoint": networks["teacher"], "dataset": "cells", "protocols": [LINEAR]}
    answer = api.post("/evaluations", json=body)
    assert answer.headers["location"] == f"/evaluations?checkpoint={networks['teacher']}"
    assert api.get(answer.headers["location"]).json() == {"items": [], "next_cursor": None}


def test_a_request_that_is_repeated_happens_once(api: TestClient, networks: dict[str, str]) -> None:
    body = {"checkpoint": networks["student"], "dataset": "cells", "protocols": [LINEAR]}
    first, again = (api.post("/evaluations", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["runs"][0]["id"] == first.json()["runs"][0]["id"]


def test_a_registration_is_waited_for(
    api: TestClient, hand: Hand, dataset_root: Path, networks: dict[str, str]
) -> None:
    register(api, dataset_root, "later")
    (run,) = evaluate(api, networks["student"], dataset="later")
    assert run["stages"][0]["state"] == "pending"
    assert hand.work_off() == ["ingest", "probe"]
    assert api.get(f"/runs/{run['id']}").json()["state"] == "succeeded"


def test_photographs_are_read_as_annotations(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    register_photographs(hand)
    (early,) = evaluate(api, networks["student"], DETECTION, dataset="voc")
    hand.finish(hand.claim("ingest_voc"))
    (late,) = evaluate(api, networks["teacher"], DETECTION, dataset="voc")
    for run in (early, late):
        hand.finish(hand.claim("transfer", UUID(run["stages"][0]["id"])))
    store = api.get("/artifacts", params={"kind": "annotated_store"}).json()["items"][0]["id"]
    for run, checkpoint in ((early, networks["student"]), (late, networks["teacher"])):
        (made,) = api.get(f"/runs/{run['id']}").json()["artifacts"]
        (evaluation, *_) = api.get(f"/artifacts/{made['id']}/lineage").json()["nodes"]
        assert evaluation["inputs"] == {"annotations": store, "checkpoint": checkpoint}


def test_the_same_work_is_not_done_twice(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    made = judged(api, hand, networks["student"], sheet({"conv1": 0.5}))
    (again,) = evaluate(api, networks["student"])
    assert (again["state"], again["stages"][0]["reason"]) == ("succeeded", "reused")
    assert [one["id"] for one in again["artifacts"]] == [made]
    (other,) = evaluate(api, networks["teacher"])
    (longer,) = evaluate(api, networks["student"], {"protocol": "linear", "epochs": 31})
    assert {other["state"], longer["state"]} == {"queued"}


def test_an_evaluation_can_be_cancelled_and_resumed(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    (run,) = evaluate(api, networks["student"])
    assert api.post(f"/runs/{run['id']}/cancel").json()["state"] == "cancelled"
    assert api.post(f"/runs/{run['id']}/resume").json()["state"] == "queued"
    assert hand.work_off() == ["probe"]


REFUSED: list[tuple[Json, int, str, str | None]] = [
    ({"checkpoint": "nobody"}, 422, "unknown_artifact", "checkpoint"),
    ({"checkpoint": "LABELS"}, 422, "wrong_artifact_kind", "checkpoint"),
    ({"dataset": "nobody"}, 404, "dataset_not_found", None),
    ({"dataset": "unlabelled"}, 422, "unlabelled_dataset", "dataset"),
    ({"dataset": "voc"}, 422, "wrong_dataset_kind", "protocols.0"),
    ({"protocols": [LINEAR, DETECTION]}, 422, "wrong_dataset_kind", "protocols.1"),
    ({"protocols": []}, 422, "invalid_request", "protocols"),
    ({"protocols": [{"protocol": "guess"}]}, 422, "invalid_request", "protocols.0"),
    ({"protocols": [{"epochs": 3}]}, 422, "invalid_request", "protocols.0"),
    ({"protocols": [{"protocol": "linear", "epocs": 3}]}, 422, "invalid_request", "protocols.0.linear.epocs"),
    ({"protocols": [{"protocol": "linear", "epochs": 0}]}, 422, "invalid_request", "protocols.0.linear.epochs"),
    ({"protocols": LINEAR}, 422, "invalid_request", "protocols"),
    ({"device": "cuda"}, 409, "device_unavailable", None),
    ({"colour": 1}, 422, "invalid_request", "colour"),
]


def test_bad_requests_are_refused_by_name_and_start_nothing(
    api: TestClient, hand: Hand, dataset_root: Path, networks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register_photographs(hand)
    monkeypatch.setitem(SUMMARIES, "store", {"count": 6, "side": 160, "labelled": 0})
    register(api, dataset_root, "unlabelled")
    hand.work_off()
    for body, status, code, path in REFUSED:
        whole = {"checkpoint": networks["student"], "dataset": "cells", "protocols": [LINEAR], **body}
        whole["checkpoint"] = whole["checkpoint"].replace("LABELS", networks["labels"])
        answer = api.post("/evaluations", json=whole)
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, problem["code"]) == (status, code), problem
        assert [error["path"] for error in problem["errors"]] == ([path] if path else [])
    assert api.get("/runs", params={"kind": "evaluation"}).json()["items"] == []


def test_a_dataset_that_failed_is_refused(
    api: TestClient, hand: Hand, dataset_root: Path, networks: dict[str, str]
) -> None:
    register(api, dataset_root, "broken")
    hand.fail(hand.claim("ingest"))
    body = {"checkpoint": networks["student"], "dataset": "broken", "protocols": [LINEAR]}
    answer = api.post("/evaluations", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_failed")
