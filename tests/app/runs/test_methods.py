"""POST /runs by method: which stages make the student, and what a run of several makers is told."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.hand import SUMMARIES, Hand
from worker.config.methods import METHOD_STAGES, Method

Json = dict[str, Any]
Submit = Callable[..., Json]

STAGES = {
    "cc": ["pretrain", "extract", "cluster", "label", "classify", "export", "evaluate", "report"],
    "cc+hog": ["hog", "cluster", "label", "classify", "export", "evaluate", "report"],
    "cc+random": ["initialise", "extract", "cluster", "label", "classify", "export", "evaluate", "report"],
    "regression": ["pretrain", "regress", "export", "evaluate"],
    "supervised": ["class_labels", "classify", "export", "evaluate", "report"],
    "pretext": ["pretrain"],
}


def names(run: Json) -> list[str]:
    return [stage["name"] for stage in run["stages"]]


def refusal(api: TestClient, **body: object) -> tuple[int, str, list[Json]]:
    answer = api.post("/runs", json={"dataset": "cells", "preset": "demo", "config": {"cluster": {"k": 2}}, **body})
    problem = answer.json()
    return answer.status_code, problem["code"], problem["errors"]


def test_every_method_has_stages() -> None:
    assert set(METHOD_STAGES) == set(Method) == set(STAGES)


@pytest.mark.parametrize("method", STAGES)
def test_a_method_is_its_stages(api: TestClient, hand: Hand, cells: Json, submit: Submit, method: str) -> None:
    run = submit(method=method)
    assert (run["method"], names(run)) == (method, STAGES[method])
    assert hand.work_off() == STAGES[method]
    ended = api.get(f"/runs/{run['id']}").json()
    assert (ended["state"], ended["method"]) == ("succeeded", method)


def test_cluster_classification_is_the_default(cells: Json, submit: Submit) -> None:
    assert submit()["method"] == "cc"


def test_a_given_teacher_is_regressed(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    made = submit(stages=["initialise"])
    hand.work_off()
    (teacher,) = api.get(f"/runs/{made['id']}").json()["artifacts"]
    run = submit(method="regression", inputs={"teacher": teacher["id"]})
    assert names(run) == ["regress", "export", "evaluate"]


def test_methods_share_the_teacher(hand: Hand, cells: Json, submit: Submit) -> None:
    submit(method="pretext")
    hand.work_off()
    assert submit(method="regression")["stages"][0]["reason"] == "reused"


def test_any_stages_may_be_named_whatever_the_method(hand: Hand, cells: Json, submit: Submit) -> None:
    run = submit(stages=["initialise", "regress"])
    assert names(run) == ["initialise", "regress"]
    assert hand.work_off() == ["initialise", "regress"]


def test_hog_may_use_another_s_words(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    made = submit(stages=["hog"])
    hand.work_off()
    (features,) = api.get(f"/runs/{made['id']}").json()["artifacts"]
    run = submit(stages=["hog"], inputs={"codebook": features["id"]})
    assert run["state"] == "queued"
    assert hand.work_off() == ["hog"]


@pytest.mark.parametrize(
    ("stages", "first", "second", "role"),
    [
        (["initialise", "pretrain", "extract"], "initialise", "pretrain", "teacher"),
        (["pretrain", "hog", "extract"], "hog", "extract", "features"),
        (["class_labels", "classify", "regress"], "classify", "regress", "student"),
    ],
)
def test_two_makers_of_one_role_are_refused(
    api: TestClient, cells: Json, stages: list[str], first: str, second: str, role: str
) -> None:
    message = f"`{first}` and `{second}` both make '{role}': a run has one of them."
    assert refusal(api, stages=stages) == (422, "ambiguous_role", [{"path": "stages", "message": message}])


@pytest.mark.parametrize(
    ("body", "maker"),
    [
        ({"stages": ["cluster"]}, "extract"),
        ({"stages": ["cluster"], "method": "cc+hog"}, "hog"),
        ({"stages": ["extract"], "method": "cc+random"}, "initialise"),
        ({"stages": ["extract"], "method": "supervised"}, "pretrain"),
        ({"stages": ["classify"], "method": "supervised"}, "class_labels"),
        ({"stages": ["export"], "method": "regression"}, "regress"),
    ],
)
def test_a_missing_input_names_the_method_s_maker(api: TestClient, cells: Json, body: Json, maker: str) -> None:
    status, code, (error,) = refusal(api, **body)
    assert (status, code) == (422, "missing_input")
    assert f"run `{maker}` too" in error["message"]


def test_supervised_training_needs_labels(
    api: TestClient, hand: Hand, cells: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUMMARIES, "store", {**SUMMARIES["store"], "classes": []})
    (ingest,) = api.get("/runs", params={"kind": "ingest"}).json()["items"]
    assert ingest["method"] is None
    other = api.post("/datasets", json={"name": "bare", "source": {"kind": "folder", "root": "data", "path": "cells"}})
    assert other.status_code == 202
    hand.work_off()
    status, code, (error,) = refusal(api, dataset="bare", method="supervised")
    assert (status, code, error["path"]) == (422, "bad_labels", "config.class_labels")
    assert "two classes at least" in error["message"]


def test_sizes_are_checked_at_once(api: TestClient, cells: Json) -> None:
    for method, stage in (("cc+hog", "hog"), ("regression", "regress")):
        status, code, (error,) = refusal(api, method=method, config={"cluster": {"k": 2}, stage: {"side": 200}})
        assert (status, code, error["path"]) == (422, "images_too_small", f"config.{stage}.side")
    status, code, (error,) = refusal(api, method="cc+random", config={"cluster": {"k": 2}, "initialise": {"crop": 200}})
    assert (status, code, error["path"]) == (422, "images_too_small", "config.initialise.crop")


def test_an_unknown_method_is_refused(api: TestClient, cells: Json) -> None:
    status, code, (error,) = refusal(api, method="magic")
    assert (status, code, error["path"]) == (422, "invalid_request", "method")
