"""Equal work that is asked for twice at the same time is done once: the second waits, and goes on whatever happens."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from app.runs.tables import Stage
from tests.app.hand import Hand, register
from worker.config.reasons import Reason

Json = dict[str, Any]
Submit = Callable[..., Json]
PART = ["pretrain", "extract"]


def stages(api: TestClient, run: Json) -> list[tuple[str, str | None]]:
    return [(stage["state"], stage["reason"]) for stage in api.get(f"/runs/{run['id']}").json()["stages"]]


def first(hand: Hand, run: Json) -> Stage:
    return hand.stage(run["id"], "pretrain")


def test_the_second_waits_and_takes_the_results_over(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    one, other = submit(stages=PART), submit(stages=PART)
    assert hand.queued() == ["pretrain"]
    waiting = other["stages"][0]
    assert (waiting["state"], waiting["detail"]) == ("pending", f"Waits for the same work in run {one['id']}.")
    claim = hand.claim("pretrain")
    assert hand.wake() == []
    hand.finish(claim)
    assert hand.wake() == ["extract"]
    assert stages(api, other) == [("succeeded", "reused"), ("pending", None)]
    assert hand.work_off() == ["extract"]
    assert stages(api, one) == [("succeeded", None)] * 2
    assert stages(api, other) == [("succeeded", "reused")] * 2
    assert [stage["detail"] for stage in api.get(f"/runs/{other['id']}").json()["stages"]] == [None, None]
    assert api.get(f"/runs/{other['id']}").json()["state"] == "succeeded"


def test_where_the_first_fails_the_second_runs_itself(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    one, other, third = (submit(stages=PART) for _ in range(3))
    hand.fail(hand.claim("pretrain"))
    assert hand.wake() == ["pretrain"]
    assert stages(api, one)[0] == ("failed", "bad_config")
    assert sorted([first(hand, other).state, first(hand, third).state]) == ["pending", "queued"]
    assert hand.work_off() == PART
    for run in (other, third):
        assert api.get(f"/runs/{run['id']}").json()["state"] == "succeeded"


def test_a_retry_keeps_the_second_waiting(hand: Hand, cells: Json, submit: Submit) -> None:
    one, other = submit(stages=PART), submit(stages=PART)
    hand.fail(hand.claim("pretrain"), Reason.crashed)
    assert hand.wake() == ["pretrain"]
    assert (first(hand, one).state, first(hand, other).state) == ("queued", "pending")


def test_where_the_first_is_cancelled_the_second_runs_itself(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    one, other = submit(stages=PART), submit(stages=PART)
    claim = hand.claim("pretrain")
    assert api.post(f"/runs/{one['id']}/cancel").status_code == 202
    assert hand.wake() == []
    hand.leave(claim)
    assert hand.wake() == ["pretrain"]
    assert first(hand, other).state == "queued"
    assert first(hand, other).detail is None


def test_a_queued_first_that_is_cancelled_wakes_the_second(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    one, other = submit(stages=PART), submit(stages=PART)
    api.post(f"/runs/{one['id']}/cancel")
    assert hand.wake() == ["pretrain"]
    assert first(hand, other).state == "queued"


def test_a_resumed_first_waits_for_the_second(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    one, other = submit(stages=PART), submit(stages=PART)
    api.post(f"/runs/{one['id']}/cancel")
    hand.wake()
    assert api.post(f"/runs/{one['id']}/resume").status_code == 202
    assert (first(hand, one).state, first(hand, other).state) == ("pending", "queued")
    assert hand.work_off() == PART
    assert api.get(f"/runs/{one['id']}").json()["state"] == "succeeded"


def test_who_waits_can_be_cancelled(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    one, other = submit(stages=PART), submit(stages=PART)
    assert api.post(f"/runs/{other['id']}/cancel").json()["state"] == "cancelled"
    assert hand.work_off() == PART
    assert api.get(f"/runs/{one['id']}").json()["state"] == "succeeded"


def test_other_settings_do_not_wait(hand: Hand, cells: Json, submit: Submit) -> None:
    for seed in range(2):
        submit(stages=PART, config={"pretrain": {"seed": seed}})
    assert hand.queued() == ["pretrain"] * 2


def test_a_run_on_any_device_waits_for_no_place_in_another_queue(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    """But once that work has begun somewhere, it waits for it; who asks for one device waits for that one only."""
    submit(stages=["pretrain"], device="cpu")
    late = submit(stages=["pretrain"])
    assert hand.queued() == ["pretrain"] * 2
    hand.claim("pretrain", first(hand, late).id)
    assert first(hand, submit(stages=["pretrain"])).state == "pending"
    picky = submit(stages=["pretrain"], device="cpu")
    assert first(hand, picky).state == "pending"
    assert "Waits for the same work" in str(first(hand, picky).detail)


def test_of_many_at_the_same_moment_one_works(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    for seed in range(2):
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(submit, stages=PART, config={"pretrain": {"seed": seed}}) for _ in range(8)]
            runs = [answer.result() for answer in asked]
        assert hand.wake() == ["pretrain"]
        assert sorted(first(hand, run).state for run in runs) == ["pending"] * 7 + ["queued"]
        assert hand.work_off() == PART
        assert {api.get(f"/runs/{run['id']}").json()["state"] for run in runs} == {"succeeded"}


def test_runs_that_wait_for_one_registration_share_their_work(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Submit
) -> None:
    register(api, dataset_root)
    runs = [submit(stages=PART) for _ in range(3)]
    assert hand.work_off() == ["ingest", *PART]
    assert {api.get(f"/runs/{run['id']}").json()["state"] for run in runs} == {"succeeded"}


def test_cancels_and_ends_of_equal_runs_never_wait_for_each_other(
    api: TestClient, hand: Hand, cells: Json, submit: Submit
) -> None:
    """Finishing, cancelling, resuming and waking at once: nobody stands still, and the work that is left gets done."""
    runs = [submit(stages=PART) for _ in range(6)]
    with ThreadPoolExecutor(8) as threads:
        claim = hand.claim("pretrain")
        jobs = [threads.submit(api.post, f"/runs/{run['id']}/cancel") for run in runs[3:]]
        jobs += [threads.submit(hand.wake) for _ in range(6)]
        jobs += [threads.submit(hand.finish, claim)]
        jobs += [threads.submit(api.post, f"/runs/{run['id']}/resume") for run in runs[3:]]
        for job in jobs:
            job.result()
    for run in runs[3:]:
        api.post(f"/runs/{run['id']}/resume")
    hand.work_off()
    states = {api.get(f"/runs/{run['id']}").json()["state"] for run in runs}
    assert states == {"succeeded"}
