"""Whoever comes first: every run still ends, and only once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tests.app.hand import Hand, register

Json = dict[str, Any]
Submit = Callable[..., Json]


def test_cancel_against_finish(api: TestClient, hand: Hand, cells: Json, submit: Submit) -> None:
    runs = [submit(stages=["pretrain", "extract"], config={"pretrain": {"seed": n}}) for n in range(8)]
    claims = [hand.claim("pretrain", hand.stage(run["id"], "pretrain").id) for run in runs]
    with ThreadPoolExecutor(8) as threads:
        cancelled = [threads.submit(api.post, f"/runs/{run['id']}/cancel") for run in runs]
        finished = [threads.submit(hand.finish, claim) for claim in claims]
        assert {answer.result().status_code for answer in cancelled} == {202}
        assert [done.result() for done in finished] == [None] * 8
    for run in runs:
        ended = api.get(f"/runs/{run['id']}").json()
        assert (ended["state"], [stage["state"] for stage in ended["stages"]]) == (
            "cancelled",
            ["succeeded", "cancelled"],
        )


def test_runs_made_while_their_dataset_becomes_ready_all_start(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Submit
) -> None:
    register(api, dataset_root)
    claim = hand.claim("ingest")
    with ThreadPoolExecutor(8) as threads:
        made = [threads.submit(submit, stages=["pretrain"], config={"pretrain": {"seed": n}}) for n in range(4)]
        threads.submit(hand.finish, claim).result()
        made += [threads.submit(submit, stages=["pretrain"], config={"pretrain": {"seed": n}}) for n in range(4, 8)]
        runs = [run.result() for run in made]
    assert hand.queued() == ["pretrain"] * 8
    assert {api.get(f"/runs/{run['id']}").json()["state"] for run in runs} == {"queued"}


def test_deletion_against_a_new_run(api: TestClient, cells: Json) -> None:
    body = {"dataset": "cells", "preset": "demo", "stages": ["pretrain"]}
    with ThreadPoolExecutor(2) as threads:
        made = threads.submit(api.post, "/runs", json=body)
        deleted = threads.submit(api.delete, "/datasets/cells")
    assert (made.result().status_code, deleted.result().status_code) in {(202, 409), (404, 204)}
