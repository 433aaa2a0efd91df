"""POST /sweeps: one run for each k, and everything before the clustering once (Table 1)."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.hand import Hand
from worker.config.methods import METHOD_STAGES, Method

Json = dict[str, Any]
AFTER = list(METHOD_STAGES[Method.cc])[2:]


def sweep(api: TestClient, k: list[int], **run: object) -> list[Json]:
    answer = api.post("/sweeps", json={"run": {"dataset": "cells", "preset": "demo", **run}, "k": k})
    assert answer.status_code == 202, answer.text
    runs: list[Json] = answer.json()["runs"]
    return runs


def test_teacher_and_features_are_shared(api: TestClient, hand: Hand, cells: Json) -> None:
    runs = sweep(api, [2, 3, 4], name="table1")
    assert [run["name"] for run in runs] == ["table1-k2", "table1-k3", "table1-k4"]
    assert hand.queued() == ["pretrain"]
    done = hand.work_off()
    assert sorted(done) == sorted(["pretrain", "extract", *AFTER * 3])
    for run, k in zip(runs, [2, 3, 4], strict=True):
        ended = api.get(f"/runs/{run['id']}").json()
        by_name = {stage["name"]: stage for stage in ended["stages"]}
        assert ended["state"] == "succeeded"
        assert by_name["cluster"]["config"]["k"] == k
        assert by_name["cluster"]["reason"] is None
    assert [stage["reason"] for stage in ended["stages"][:2]] == ["reused"] * 2


def test_another_setting_of_the_clustering_stays(api: TestClient, hand: Hand, cells: Json) -> None:
    runs = sweep(api, [2, 3], config={"cluster": {"iterations": 7}}, method="cc+hog")
    assert hand.work_off().count("hog") == 1
    for run in runs:
        stages = api.get(f"/runs/{run['id']}").json()["stages"]
        assert next(stage for stage in stages if stage["name"] == "cluster")["config"]["iterations"] == 7


def test_a_repeated_request_makes_nothing_new(api: TestClient, cells: Json) -> None:
    body = {"run": {"dataset": "cells", "preset": "demo"}, "k": [2, 3]}
    one, other = (api.post("/sweeps", json=body, headers={"Idempotency-Key": "mine"}).json() for _ in range(2))
    assert one == other
    assert len(api.get("/runs", params={"kind": "pipeline"}).json()["items"]) == 2


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"k": []}, "invalid_request", "k"),
        ({"k": [3, 3]}, "invalid_request", "k"),
        ({"k": [2, 1]}, "invalid_request", "k.1"),
        ({"k": [2, 7]}, "k_too_large", "run.config.cluster.k"),
        ({"k": [2], "run": {"config": {"cluster": {"kk": 1}}}}, "invalid_request", "run.config.cluster.kk"),
        ({"k": [2], "run": {"config": {"cluster": 5}}}, "invalid_request", "run.config.cluster"),
        ({"k": [2], "run": {"method": "supervised"}}, "nothing_to_sweep", "run.stages"),
        ({"k": [2], "run": {"name": "n" * 99}}, "invalid_request", "run.name"),
    ],
)
def test_bad_sweeps_are_refused_and_start_nothing(
    api: TestClient, cells: Json, body: Json, code: str, path: str
) -> None:
    run = {"dataset": "cells", "preset": "demo", **body.get("run", {})}
    answer = api.post("/sweeps", json={**body, "run": run})
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.json()
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert api.get("/runs", params={"kind": "pipeline"}).json()["items"] == []


def test_a_run_with_a_list_of_k_is_told_where_sweeps_are(api: TestClient, cells: Json) -> None:
    answer = api.post("/runs", json={"dataset": "cells", "preset": "demo", "config": {"cluster": {"k": [10, 20]}}})
    assert answer.status_code == 422
    assert "POST /sweeps" in answer.text
