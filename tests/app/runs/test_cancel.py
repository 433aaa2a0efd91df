"""Cancel in every state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tests.app.hand import Hand, register

Json = dict[str, Any]
Submit = Callable[..., Json]


def states(run: Json) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in run["stages"]}


def test_a_queued_run_is_cancelled_at_once(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    run = submit()
    answer = api.post(f"/runs/{run['id']}/cancel")
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["reason"]) == ("cancelled", "cancelled")
    assert set(states(answer.json()).values()) == {"cancelled"}
    assert hand.queued() == []


def test_a_running_stage_is_asked_and_the_rest_cancelled(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    run = submit()
    claim = hand.claim("pretrain")
    cancelling = api.post(f"/runs/{run['id']}/cancel").json()
    assert cancelling["state"] == "cancelling"
    assert states(cancelling) == {name: "cancelled" for name in states(run)} | {"pretrain": "running"}
    assert hand.stage(run["id"], "pretrain").cancel_requested_at is not None
    assert api.post(f"/runs/{run['id']}/cancel").json()["state"] == "cancelling"
    hand.leave(claim)
    ended = api.get(f"/runs/{run['id']}").json()
    assert (ended["state"], states(ended)["pretrain"]) == ("cancelled", "cancelled")


def test_a_stage_that_is_done_before_it_hears_keeps_its_result(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    run = submit(stages=["pretrain", "extract"])
    claim = hand.claim("pretrain")
    api.post(f"/runs/{run['id']}/cancel")
    hand.finish(claim)
    ended = api.get(f"/runs/{run['id']}").json()
    assert (ended["state"], states(ended)) == ("cancelled", {"pretrain": "succeeded", "extract": "cancelled"})


def test_an_ended_run_cant_be_cancelled(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    succeeded, failed, cancelled = (submit(stages=["pretrain"], config={"pretrain": {"seed": n}}) for n in range(3))
    api.post(f"/runs/{cancelled['id']}/cancel")
    for run in (succeeded, failed):
        with_stage = hand.stage(run["id"], "pretrain")
        claim = hand.claim("pretrain", stage_id=with_stage.id)
        hand.finish(claim) if run is succeeded else hand.fail(claim)
    for run, state in ((succeeded, "succeeded"), (failed, "failed"), (cancelled, "cancelled")):
        answer = api.post(f"/runs/{run['id']}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "run_finished")
        assert api.get(f"/runs/{run['id']}").json()["state"] == state


def test_a_run_that_waits_for_a_registration_is_cancelled_alone(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Submit
) -> None:
    register(api, dataset_root)
    run = submit()
    assert api.post(f"/runs/{run['id']}/cancel").json()["state"] == "cancelled"
    assert hand.work_off() == ["ingest"]
    assert api.get("/datasets/cells").json()["state"] == "ready"
    assert api.get(f"/runs/{run['id']}").json()["state"] == "cancelled"


def test_cancelling_a_registration_fails_the_dataset_and_who_waits_for_it(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Submit
) -> None:
    dataset = register(api, dataset_root)
    run = submit()
    api.post(f"/runs/{dataset['run']}/cancel")
    assert api.get("/datasets/cells").json()["reason"] == "cancelled"
    ended = api.get(f"/runs/{run['id']}").json()
    assert (ended["state"], ended["reason"]) == ("failed", "upstream_failed")


def test_an_unknown_run_is_a_404(api: TestClient) -> None:
    answer = api.post("/runs/nobody/cancel")
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
