"""Runs that begin in the middle, from what others made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tests.app.hand import Hand, register
from worker.config.methods import METHOD_STAGES, Method

Json = dict[str, Any]
Submit = Callable[..., Json]


def roles(run: Json) -> dict[str, str]:
    return {artifact["role"]: artifact["id"] for artifact in run["artifacts"]}


def names(run: Json) -> list[str]:
    return [stage["name"] for stage in run["stages"]]


def whole(api: TestClient, hand: Hand, submit: Submit) -> Json:
    run = submit()
    hand.work_off()
    ended: Json = api.get(f"/runs/{run['id']}").json()
    return ended


def test_the_same_run_again_runs_nothing_twice(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    first = whole(api, hand, submit)
    again = submit()
    assert hand.queued() == []
    assert again["state"] == "succeeded"
    assert {(stage["state"], stage["reason"]) for stage in again["stages"]} == {("succeeded", "reused")}
    assert roles(again) == roles(first)
    assert again["stages"][0]["reused_stage_id"] == first["stages"][0]["id"]


def test_another_k_runs_clustering_and_what_follows(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    whole(api, hand, submit)
    submit(config={"cluster": {"k": 3}})
    assert hand.work_off() == list(METHOD_STAGES[Method.cc])[2:]


def test_a_reused_stage_can_be_reused_again(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    first = whole(api, hand, submit)
    submit(stages=["pretrain"])
    third = submit(stages=["pretrain"])
    assert third["stages"][0]["reused_stage_id"] == first["stages"][0]["id"]


def test_a_failed_stage_is_not_reused(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    submit(stages=["pretrain"])
    hand.fail(hand.claim("pretrain"))
    assert submit(stages=["pretrain"])["stages"][0]["state"] == "queued"


def test_an_old_feature_set_is_clustered_with_another_k_and_no_dataset(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    features = roles(whole(api, hand, submit))["features"]
    run = submit(dataset=None, stages=["cluster"], inputs={"features": features}, config={"cluster": {"k": 3}})
    assert hand.work_off() == ["cluster"]
    assert api.get(f"/runs/{run['id']}").json()["state"] == "succeeded"
    body = {"stages": ["cluster"], "inputs": {"features": features}, "config": {"cluster": {"k": 7}}}
    assert api.post("/runs", json=body).json()["code"] == "k_too_large"


def test_another_dataset_is_labelled_with_old_centroids(
    api: TestClient, hand: Hand, cells: Json, submit: Submit, dataset_root: Path
) -> None:
    made = roles(whole(api, hand, submit))
    register(api, dataset_root, "others")
    given = {"teacher": made["teacher"], "centroids": made["centroids"]}
    run = submit(dataset="others", stages=["extract", "label"], inputs=given)
    assert hand.work_off() == ["ingest", "extract", "label"]
    ended = api.get(f"/runs/{run['id']}").json()
    lineage = api.get(f"/artifacts/{roles(ended)['labels']}/lineage").json()
    assert lineage["nodes"][0]["inputs"]["centroids"] == made["centroids"]
    assert made["features"] in {node["artifact"]["id"] for node in lineage["nodes"]}


def test_given_labels_leave_out_whatever_only_made_labels(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    labels = roles(whole(api, hand, submit))["labels"]
    run = submit(inputs={"labels": labels}, config={"classify": {"seed": 7}})
    assert names(run) == ["classify", "export", "evaluate", "report"]
    assert hand.work_off() == ["classify", "export", "evaluate", "report"]


def test_given_a_teacher_everything_but_its_training_runs(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    made = roles(whole(api, hand, submit))
    run = submit(inputs={"teacher": made["teacher"]})
    assert names(run) == list(METHOD_STAGES[Method.cc])[1:]
    assert run["state"] == "succeeded"
    assert roles(run)["weights"] == made["weights"]


def test_an_input_that_nobody_reads_is_refused(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    labels = roles(whole(api, hand, submit))["labels"]
    answer = api.post("/runs", json={"stages": ["cluster"], "inputs": {"labels": labels}})
    assert answer.json()["errors"] == [{"path": "inputs.labels", "message": "No stage of this run reads 'labels'."}]
