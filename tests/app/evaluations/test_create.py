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


GIVEN: Json = {**DETECTION, "proposals_source": "given"}


def test_given_proposals_are_asked_of_a_dataset_that_has_some(
    api: TestClient, hand: Hand, networks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register_photographs(hand)
    evaluate(api, networks["teacher"], GIVEN, dataset="voc")  # nobody knows yet
    monkeypatch.setitem(SUMMARIES, "annotations", {"count": 6, "proposals": 0})
    hand.finish(hand.claim("ingest_voc"))
    body = {"checkpoint": networks["student"], "dataset": "voc", "protocols": [DETECTION, GIVEN]}
    problem = api.post("/evaluations", json=body).json()
    assert (problem["status"], problem["code"]) == (422, "no_proposals")
    assert [error["path"] for error in problem["errors"]] == ["protocols.1.proposals_source"]
    assert "registered without `proposals.npz`" in problem["detail"]
    evaluate(api, networks["student"], {**GIVEN, "detector": "faster_rcnn"}, dataset="voc")


def test_given_proposals_that_were_registered_are_taken(
    api: TestClient, hand: Hand, networks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register_photographs(hand)
    monkeypatch.setitem(SUMMARIES, "annotations", {"count": 6, "proposals": 5})
    hand.finish(hand.claim("ingest_voc"))
    (run,) = evaluate(api, networks["student"], GIVEN, dataset="voc")
    assert run["stages"][0]["config"]["protocol"]["proposals_source"] == "given"


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
    (
        {"protocols": [{"protocol": "low_shot", "shares": [0.1, 0]}]},
        422,
        "invalid_request",
        "protocols.0.low_shot.shares.1",
    ),
    (
        {"protocols": [{"protocol": "low_shot", "shares": [0.1, 2]}]},
        422,
        "invalid_request",
        "protocols.0.low_shot.shares.1",
    ),
    (
        {"dataset": "voc", "protocols": [{**DETECTION, "train_set": "a+b", "test_set": "b"}]},
        422,
        "invalid_request",
        "protocols.0.voc_detection",
    ),
    ({"protocols": [{"protocol": "linear", "crop": 161}]}, 422, "images_too_small", "protocols.0.crop"),
    ({"protocols": [{"protocol": "linear", "side": 64, "crop": 96}]}, 422, "images_too_small", "protocols.0.crop"),
    ({"protocols": [{"protocol": "clusters", "k": 7}]}, 422, "k_too_large", "protocols.0.k"),
    ({"protocols": [LINEAR, {"protocol": "linear", "taps": ["conv6"]}]}, 422, "unknown_tap", "protocols.1.taps"),
    ({"protocols": [{"protocol": "retrieval", "taps": ["conv4", "layer3"]}]}, 422, "unknown_tap", "protocols.0.taps"),
    ({"protocols": [{"protocol": "low_shot", "taps": ["fc6"]}]}, 422, "unknown_tap", "protocols.0.taps"),
    ({"protocols": [{"protocol": "clusters", "tap": "Conv4"}]}, 422, "unknown_tap", "protocols.0.tap"),
    ({"protocols": [{"protocol": "nonlinear", "columns": ["fc8"]}]}, 422, "unknown_tap", "protocols.0.columns"),
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


def test_an_unknown_tap_is_answered_with_those_there_are(api: TestClient, networks: dict[str, str]) -> None:
    protocol = {"protocol": "linear", "taps": ["conv4", "relu5", "conv6"]}
    body = {"checkpoint": networks["student"], "dataset": "cells", "protocols": [protocol]}
    assert api.post("/evaluations", json=body).json()["detail"] == (
        "The checkpoint's network (alexnet-torchvision) has no map called 'relu5', 'conv6'; "
        "it has conv1, conv2, conv3, conv4, conv5."
    )


def test_columns_of_a_classifier_may_be_asked_of_any_network(api: TestClient, networks: dict[str, str]) -> None:
    protocol = {"protocol": "nonlinear", "columns": ["conv5", "pool5", "fc6", "fc7"]}
    for role in ("student", "teacher"):
        evaluate(api, networks[role], protocol)


def test_only_its_stage_knows_the_taps_of_a_library_s_network(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    register_photographs(hand)
    sent = api.post("/uploads", params={"filename": "r.safetensors"}, content=b"data").json()["id"]
    body = {"name": "resnet", "backbone": {"arch": "torchvision:resnet18"}, "upload": sent}
    assert api.post("/checkpoints", json=body).status_code == 202
    hand.work_off()
    (run,) = evaluate(api, "resnet", {"protocol": "linear", "taps": ["layer3"]})
    assert run["state"] == "queued"
    for dataset, protocol in (("cells", {"protocol": "nonlinear"}), ("voc", DETECTION)):
        body = {"checkpoint": "resnet", "dataset": dataset, "protocols": [protocol]}
        problem = api.post("/evaluations", json=body).json()
        assert (problem["status"], problem["code"]) == (422, "wrong_network")
        assert "an AlexNet or VGG16, not torchvision:resnet18" in problem["detail"]


def test_a_dataset_that_failed_is_refused(
    api: TestClient, hand: Hand, dataset_root: Path, networks: dict[str, str]
) -> None:
    register(api, dataset_root, "broken")
    hand.fail(hand.claim("ingest"))
    body = {"checkpoint": networks["student"], "dataset": "broken", "protocols": [LINEAR]}
    answer = api.post("/evaluations", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_failed")
