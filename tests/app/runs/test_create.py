"""POST /runs: what is planned, what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import func

from app.workers.tables import Worker
from tests.app.hand import Hand, register
from worker.config.methods import METHOD_STAGES, Method

Json = dict[str, Any]
Submit = Callable[..., Json]


def test_a_run_holds_all_stages_and_ends_with_all_artifacts(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    run = submit(name="first")
    assert run["state"] == "queued"
    assert [stage["name"] for stage in run["stages"]] == list(METHOD_STAGES[Method.cc])
    assert [stage["state"] for stage in run["stages"]] == ["queued"] + ["pending"] * 7
    assert run["stages"][0]["progress"] == {"done": 0, "total": 0, "unit": None}
    assert hand.work_off() == list(METHOD_STAGES[Method.cc])
    ended = api.get("/runs/first").json()
    assert (ended["id"], ended["state"], ended["reason"]) == (run["id"], "succeeded", None)
    assert [one["role"] for one in ended["artifacts"]] == [
        "teacher", "features", "centroids", "labels", "student", "weights", "evaluation", "report",
    ]  # fmt: skip
    assert ended["started_at"] <= ended["finished_at"]


def test_the_stored_config_is_resolved_with_the_datasets_facts(api: TestClient, cells: Json, submit: Submit) -> None:
    run = submit(preset="paper", config={"cluster": {"k": "auto"}}, stages=["pretrain", "extract", "cluster"])
    pretext = run["stages"][0]["config"]["pretext"]
    assert (pretext["side"], pretext["crop"], pretext["tile"]) == (160, 159, 40)


def test_a_later_stage_is_resolved_when_it_becomes_ready(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    run = submit(config={"cluster": {"k": "auto"}})
    hand.finish(hand.claim("pretrain"))
    hand.finish(hand.claim("extract"))
    cluster = api.get(f"/runs/{run['id']}").json()["stages"][2]
    assert (cluster["state"], cluster["config"]["k"]) == ("queued", 2)


def test_a_run_waits_for_its_datasets_registration(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Submit
) -> None:
    register(api, dataset_root)
    run = submit()
    assert [stage["state"] for stage in run["stages"]] == ["pending"] * 8
    assert hand.work_off() == ["ingest", *METHOD_STAGES[Method.cc]]
    assert api.get(f"/runs/{run['id']}").json()["state"] == "succeeded"


def test_a_run_fails_with_its_datasets_registration(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Submit
) -> None:
    register(api, dataset_root)
    run = submit()
    hand.fail(hand.claim("ingest"), "too_few_images", "one image only")
    ended = api.get(f"/runs/{run['id']}").json()
    assert (ended["state"], ended["reason"]) == ("failed", "upstream_failed")
    assert "one image only" in ended["detail"]
    assert {stage["state"] for stage in ended["stages"]} == {"cancelled"}
    assert api.get("/datasets/cells").json()["reason"] == "too_few_images"
    again = api.post("/runs", json={"dataset": "cells"})
    assert (again.status_code, again.json()["code"]) == (409, "dataset_failed")


def test_what_the_facts_forbid_fails_the_stage_when_they_come_late(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Submit
) -> None:
    register(api, dataset_root)
    run = submit(config={"cluster": {"k": 7}})
    assert hand.work_off() == ["ingest", "pretrain", "extract"]
    ended = api.get(f"/runs/{run['id']}").json()
    assert (ended["state"], ended["reason"]) == ("failed", "k_too_large")
    assert "6 images" in ended["detail"]


def test_only_the_stage_knows_the_maps_of_a_librarys_network(api: TestClient, cells: Json, submit: Submit) -> None:
    network = {"pretrain": {"backbone": {"arch": "torchvision:resnet18"}}, "extract": {"tap": "layer3"}}
    assert submit(config=network)["state"] == "queued"


REFUSED: list[tuple[Json, int, str, str | None]] = [
    ({"dataset": "nobody"}, 404, "dataset_not_found", None),
    ({}, 422, "missing_dataset", None),
    ({"dataset": "cells", "preset": "huge"}, 422, "invalid_request", "preset"),
    ({"dataset": "cells", "colour": 1}, 422, "invalid_request", "colour"),
    ({"dataset": "cells", "config": {"cluster": {"kk": 3}}}, 422, "invalid_request", "config.cluster.kk"),
    ({"dataset": "cells", "config": {"claster": {}}}, 422, "invalid_request", "config.claster"),
    ({"dataset": "cells", "config": {"cluster": 5}}, 422, "invalid_request", "config.cluster"),
    ({"dataset": "cells", "config": {"cluster": {"k": 7}}}, 422, "k_too_large", "config.cluster.k"),
    (
        {"dataset": "cells", "config": {"pretrain": {"pretext": {"side": 200}}}},
        422,
        "images_too_small",
        "config.pretrain.pretext.side",
    ),
    ({"dataset": "cells", "config": {"extract": {"crop": 150}}}, 422, "bad_config", "config.extract.crop"),
    ({"dataset": "cells", "config": {"extract": {"tap": "conv9"}}}, 422, "unknown_tap", "config.extract.tap"),
    (
        {"dataset": "cells", "method": "cc+random", "config": {"extract": {"tap": "layer3"}}},
        422,
        "unknown_tap",
        "config.extract.tap",
    ),
    ({"dataset": "cells", "stages": ["cluster"]}, 422, "missing_input", "inputs.features"),
    ({"dataset": "cells", "stages": ["ingest"]}, 422, "unknown_stage", "stages"),
    ({"dataset": "cells", "stages": []}, 422, "nothing_to_do", None),
    ({"dataset": "cells", "inputs": {"teacher": "nobody"}}, 422, "unknown_artifact", "inputs.teacher"),
    ({"dataset": "cells", "inputs": {"store": "STORE"}}, 422, "unknown_role", "inputs.store"),
    ({"dataset": "cells", "inputs": {"teacher": "STORE"}}, 422, "wrong_artifact_kind", "inputs.teacher"),
    ({"dataset": "cells", "device": "cuda"}, 409, "device_unavailable", None),
    ({"dataset": "cells", "name": "a/b"}, 422, "invalid_request", "name"),
    ({"dataset": "cells", "name": "6f1c7f0e-41c0-4a59-9e6a-7d1c0ce5f0aa"}, 422, "invalid_request", "name"),
]


def test_bad_requests_are_refused_by_name_and_store_nothing(api: TestClient, cells: Json) -> None:
    for body, status, code, path in REFUSED:
        inputs = {role: ref.replace("STORE", cells["store"]) for role, ref in body.get("inputs", {}).items()}
        config = {"cluster": {"k": 2}} | body.get("config", {})
        answer = api.post("/runs", json={"preset": "demo", **body, "config": config, "inputs": inputs})
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, problem["code"]) == (status, code), problem
        assert [error["path"] for error in problem["errors"]] == ([path] if path else [])
    assert api.get("/runs", params={"kind": "pipeline"}).json()["items"] == []


def test_a_name_is_given_once(api: TestClient, cells: Json, submit: Submit) -> None:
    submit(name="first")
    again = api.post(
        "/runs", json={"dataset": "cells", "preset": "demo", "config": {"cluster": {"k": 2}}, "name": "first"}
    )
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")


def test_a_gpu_may_be_asked_for_where_one_is(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    with hand.sessions.begin() as session:
        session.add(Worker(name="gpu", host="h", device="cuda:0", seen_at=func.now()))
    assert submit(device="cuda")["device"] == "cuda"
