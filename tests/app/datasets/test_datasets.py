"""Registration, listing, deletion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.hand import SUMMARIES, Hand, register

Json = dict[str, Any]


@pytest.fixture
def voc(api: TestClient, dataset_root: Path) -> Json:
    """A dataset of annotated photographs that is being registered."""
    (dataset_root / "VOCdevkit").mkdir()
    (dataset_root / "VOCdevkit" / "train.txt").write_text("")
    source = {"kind": "folder", "root": "data", "path": "VOCdevkit"}
    body = {"name": "voc", "source": source, "layout": "voc", "config": {"max_pixels": 1000}}
    answer = api.post("/datasets", json=body)
    assert answer.status_code == 202, answer.text
    made: Json = answer.json()
    return made


def test_registering_is_a_run_and_ends_ready(api: TestClient, hand: Hand, dataset_root: Path) -> None:
    made = register(api, dataset_root)
    assert (made["state"], made["store"], made["config"]["side"]) == ("registering", None, 256)
    assert api.get(f"/runs/{made['run']}").json()["kind"] == "ingest"
    hand.work_off()
    ready = api.get(f"/datasets/{made['id']}").json()
    assert (ready["state"], ready["summary"]) == ("ready", SUMMARIES["store"])
    assert api.get("/datasets/cells").json() == ready
    assert [one["name"] for one in api.get("/datasets").json()["items"]] == ["cells"]


def test_an_uploaded_archive_is_registered(api: TestClient, hand: Hand) -> None:
    upload = api.post("/uploads", params={"filename": "x.zip"}, content=b"zip").json()
    body = {"name": "up", "source": {"kind": "upload", "upload": upload["id"]}, "config": {"side": 64}}
    made = api.post("/datasets", json=body).json()
    assert made["source"]["upload"] == upload["id"]
    assert hand.work_off() == ["ingest"]


def test_bad_sources_are_refused_and_nothing_is_stored(api: TestClient, hand: Hand, dataset_root: Path) -> None:
    (dataset_root / "empty").mkdir()
    sources = [
        ({"kind": "folder", "root": "data", "path": ".."}, 422, "path_outside_root"),
        ({"kind": "folder", "root": "data", "path": "empty"}, 422, "empty_source"),
        ({"kind": "folder", "root": "data", "path": "missing"}, 422, "source_missing"),
        ({"kind": "folder", "root": "other", "path": "."}, 422, "unknown_root"),
        ({"kind": "upload", "upload": "nobody"}, 404, "upload_not_found"),
        ({"kind": "url", "url": "http://x"}, 422, "invalid_request"),
    ]
    for source, status, code in sources:
        answer = api.post("/datasets", json={"name": "x", "source": source})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert api.get("/datasets").json()["items"] == []
    assert hand.queued() == []


def test_a_name_is_free_again_after_deletion(api: TestClient, cells: Json, hand: Hand, dataset_root: Path) -> None:
    body = {"name": "cells", "source": {"kind": "folder", "root": "data", "path": "cells"}}
    assert api.post("/datasets", json=body).json()["code"] == "name_taken"
    assert api.delete("/datasets/cells").status_code == 204
    assert api.get(f"/datasets/{cells['id']}").status_code == 404
    assert api.get(f"/artifacts/{cells['store']}").status_code == 404
    assert api.post("/datasets", json=body).status_code == 202


def test_a_dataset_in_use_is_not_deleted(
    api: TestClient, hand: Hand, dataset_root: Path, submit: Callable[..., Json]
) -> None:
    register(api, dataset_root)
    answer = api.delete("/datasets/cells")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")
    hand.work_off()
    run = submit()
    assert api.delete("/datasets/cells").json()["code"] == "dataset_in_use"
    hand.claim("pretrain")
    api.post(f"/runs/{run['id']}/cancel")
    assert api.delete("/datasets/cells").json()["code"] == "dataset_in_use"


def test_left_out_files_are_listed_with_their_reasons(api: TestClient, cells: Json) -> None:
    page = api.get("/datasets/cells/problems", params={"limit": 2}).json()
    assert page["items"][0] == {"path": "0.jpg", "reason": "undecodable", "detail": "cut"}
    rest = api.get("/datasets/cells/problems", params={"cursor": page["next_cursor"]}).json()
    assert [item["path"] for item in rest["items"]] == ["2.jpg"]
    assert rest["next_cursor"] is None


def test_an_unfinished_dataset_has_no_list_of_problems(api: TestClient, dataset_root: Path) -> None:
    register(api, dataset_root)
    answer = api.get("/datasets/cells/problems")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_not_ready")


def test_photographs_are_registered_by_a_stage_of_their_own(api: TestClient, hand: Hand, voc: Json) -> None:
    assert (voc["layout"], voc["config"]["max_pixels"]) == ("voc", 1000)
    run = api.get(f"/runs/{voc['run']}").json()
    assert (run["kind"], [stage["name"] for stage in run["stages"]]) == ("ingest", ["ingest_voc"])
    assert hand.work_off() == ["ingest_voc"]
    ready = api.get("/datasets/voc").json()
    assert (ready["state"], ready["summary"]) == ("ready", {"role": "annotations"})
    assert api.get(f"/artifacts/{ready['store']}").json()["kind"] == "annotated_store"


def test_what_learns_from_images_refuses_photographs(api: TestClient, hand: Hand, cells: Json, voc: Json) -> None:
    upload = api.post("/uploads", params={"filename": "x.csv"}, content=b"path,label\n").json()
    requests = [
        ("/runs", {"dataset": "voc"}),
        ("/pseudo-label-sets", {"name": "mine", "dataset": "voc", "upload": upload["id"]}),
    ]
    for _ in ("registering", "ready"):
        for path, body in requests:
            answer = api.post(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "wrong_dataset_kind"), answer.text
            assert answer.json()["errors"][0]["path"] == "dataset"
        hand.work_off()


def test_settings_are_those_of_the_layout(api: TestClient, hand: Hand, dataset_root: Path) -> None:
    (dataset_root / "x").mkdir()
    (dataset_root / "x" / "a.jpg").write_bytes(b"jpg")
    body = {"name": "x", "source": {"kind": "folder", "root": "data", "path": "x"}}
    wrong: list[tuple[Json, str]] = [
        ({"layout": "voc", "config": {"side": 64}}, "config.side"),
        ({"layout": "images", "config": {"side": 1}}, "config.side"),
        ({"layout": "coco"}, "layout"),
    ]
    for part, path in wrong:
        answer = api.post("/datasets", json=body | part)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert api.get("/datasets").json()["items"] == []
