"""Resume: what succeeded is kept, the rest is tried again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tests.app.hand import Hand, register
from worker.config.methods import METHOD_STAGES, Method

Json = dict[str, Any]
Submit = Callable[..., Json]


def test_a_failed_run_goes_on_where_it_failed(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    run = submit()
    hand.finish(hand.claim("pretrain"))
    hand.fail(hand.claim("extract"), "out_of_memory", "too much")
    failed = api.get(f"/runs/{run['id']}").json()
    assert (failed["state"], failed["reason"], failed["detail"]) == ("failed", "out_of_memory", "extract: too much")
    assert failed["stages"][2]["reason"] == "upstream_failed"
    resumed = api.post(f"/runs/{run['id']}/resume")
    assert resumed.status_code == 202
    assert (resumed.json()["state"], resumed.json()["reason"]) == ("queued", None)
    assert hand.stage(run["id"], "extract").failure_count == 0
    assert hand.work_off() == list(METHOD_STAGES[Method.cc])[1:]
    ended = api.get(f"/runs/{run['id']}").json()
    assert (ended["state"], ended["stages"][1]["attempt_no"]) == ("succeeded", 2)


def test_a_cancelled_run_resumes_with_the_config_the_machine_resolved(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    run = submit(stages=["pretrain"])
    claim = hand.claim("pretrain")
    key = hand.stage(run["id"], "pretrain").key
    decided = dict(claim.config) | {"seed": 5}
    hand.report_config(claim, decided)
    api.post(f"/runs/{run['id']}/cancel")
    hand.leave(claim)
    api.post(f"/runs/{run['id']}/resume")
    stage = hand.stage(run["id"], "pretrain")
    assert (stage.state, stage.key, stage.config) == ("queued", key, decided)


def test_only_failed_and_cancelled_runs_resume(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    run = submit(stages=["pretrain"])
    resume = f"/runs/{run['id']}/resume"
    assert api.post(resume).json()["code"] == "run_not_resumable"
    claim = hand.claim("pretrain")
    assert api.post(resume).json()["code"] == "run_not_resumable"
    hand.finish(claim)
    answer = api.post(resume)
    assert (answer.status_code, answer.json()["code"]) == (409, "run_not_resumable")


def test_a_registration_resumes_and_then_who_waited_for_it(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Submit
) -> None:
    dataset = register(api, dataset_root)
    run = submit()
    hand.fail(hand.claim("ingest"), "disk_full", "full")
    assert api.post(f"/runs/{run['id']}/resume").json()["state"] == "failed"
    assert api.post(f"/runs/{dataset['run']}/resume").status_code == 202
    assert api.get("/datasets/cells").json()["state"] == "registering"
    assert api.post(f"/runs/{run['id']}/resume").json()["state"] == "queued"
    assert hand.work_off() == ["ingest", *METHOD_STAGES[Method.cc]]


def test_a_run_of_a_deleted_dataset_does_not_resume(api: TestClient, cells: Json, submit: Submit) -> None:
    run = submit()
    api.post(f"/runs/{run['id']}/cancel")
    assert api.delete("/datasets/cells").status_code == 204
    answer = api.post(f"/runs/{run['id']}/resume")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_deleted")
