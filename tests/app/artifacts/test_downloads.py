"""Downloads: resumable, checkable, and never another file than asked for."""

import base64
import hashlib
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.artifacts.conftest import Library

Made = dict[str, str]


@pytest.fixture
def api(library: Library) -> TestClient:
    return library.api


@pytest.fixture
def made(library: Library) -> Made:
    return library.made


def weights(api: TestClient, made: Made, file_format: str = "safetensors", **headers: str) -> Any:  # noqa: ANN401
    return api.get(f"/runs/{made['run']}/weights", params={"format": file_format}, headers=headers)


def test_a_resumed_download_is_the_whole_file(api: TestClient, made: Made) -> None:
    whole = weights(api, made)
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    etag, half = whole.headers["etag"], len(whole.content) // 2
    rest = weights(api, made, **{"Range": f"bytes={half}-", "If-Range": etag})
    assert (rest.status_code, rest.headers["etag"]) == (206, etag)
    assert rest.headers["content-range"] == f"bytes {half}-{len(whole.content) - 1}/{len(whole.content)}"
    assert whole.content[:half] + rest.content == whole.content


def test_the_etag_and_the_digest_are_the_files_sha256(api: TestClient, made: Made) -> None:
    answer = weights(api, made)
    digest = hashlib.sha256(answer.content)
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["content-disposition"] == 'attachment; filename="alexnet.safetensors"'


def test_a_range_of_an_older_file_gets_the_new_one_whole(api: TestClient, made: Made) -> None:
    answer = weights(api, made, **{"Range": "bytes=5-", "If-Range": '"another"'})
    assert answer.status_code == 200
    assert answer.content == weights(api, made).content


def test_what_the_client_has_is_not_sent_again(api: TestClient, made: Made) -> None:
    etag = weights(api, made).headers["etag"]
    answer = weights(api, made, **{"If-None-Match": f'"x", {etag}'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert weights(api, made, **{"If-None-Match": '"x"'}).status_code == 200


def test_a_range_beyond_the_end_is_refused(api: TestClient, made: Made) -> None:
    assert weights(api, made, Range="bytes=99999999-").status_code == 416


def test_head_tells_the_length_only(api: TestClient, made: Made) -> None:
    head = api.head(f"/runs/{made['run']}/weights")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(weights(api, made).content))


def test_formats_that_are_not_there_are_answered_with_those_that_are(api: TestClient, made: Made) -> None:
    assert weights(api, made, "onnx").content == b"alexnet.onnx" * 100
    assert weights(api, made, "model_card").status_code == 200
    for file_format in ("torchvision", "gguf", "../../x"):
        answer = weights(api, made, file_format)
        assert (answer.status_code, answer.json()["code"]) == (404, "format_unavailable")
        assert "safetensors, onnx" in answer.json()["detail"]


def test_a_run_without_weights_says_so(api: TestClient, made: Made) -> None:
    registration = api.get("/datasets/cells").json()["run"]
    answer = api.get(f"/runs/{registration}/weights")
    assert (answer.status_code, answer.json()["code"]) == (404, "weights_not_found")
    assert "succeeded" in answer.json()["detail"]


def test_only_an_artifacts_own_files_are_served(api: TestClient, made: Made) -> None:
    files = f"/artifacts/{made['weights']}/files"
    assert api.get(f"{files}/model_card.json").status_code == 200
    for name in ("nothing", "..%2f..%2fx", "%2e%2e"):
        assert api.get(f"{files}/{name}").status_code == 404


def test_a_lost_file_is_gone_and_no_crash(api: TestClient, made: Made, library: Library) -> None:
    digest = api.get(f"/artifacts/{made['weights']}").json()["sha256"]
    path = library.root / "artifacts" / digest[:2] / digest / "alexnet.onnx"
    aside = path.rename(path.with_suffix(".aside"))
    answer = weights(api, made, "onnx")
    aside.rename(path)
    assert (answer.status_code, answer.json()["code"]) == (410, "file_gone")


def test_the_reports_files(api: TestClient, made: Made) -> None:
    report = api.get(f"/runs/{made['run']}/report").json()
    assert {"report.md", "clusters.png"} <= {file["name"] for file in report["files"]}
    assert api.get(f"/runs/{made['run']}/report/report.md").content == b"# report\n"


def test_checkpoints_offer_what_was_exported_of_them(api: TestClient, made: Made) -> None:
    listed = api.get("/checkpoints").json()["items"]
    assert [(one["run"], one["run_name"]) for one in listed] == [(made["run"], None)] * 2
    assert {one["id"] for one in listed} == {made["teacher"], made["student"]}
    student = api.get(f"/checkpoints/{made['student']}").json()
    assert student["formats"] == ["state_dict", "safetensors", "onnx", "model_card"]
    teacher = api.get(f"/checkpoints/{made['teacher']}").json()
    assert teacher["formats"] == ["state_dict", "safetensors"]
    download = f"/checkpoints/{made['teacher']}/download"
    assert api.get(download).content == b"teacher.safetensors" * 100
    assert api.get(download, params={"format": "state_dict"}).headers["content-disposition"].endswith('"model.pt"')
    assert api.get(download, params={"format": "onnx"}).json()["code"] == "format_unavailable"
    assert api.get(f"/checkpoints/{made['centroids']}").json()["code"] == "checkpoint_not_found"


def test_lineage_reaches_the_images(api: TestClient, made: Made) -> None:
    lineage = api.get(f"/artifacts/{made['weights']}/lineage").json()
    by_id = {node["artifact"]["id"]: node for node in lineage["nodes"]}
    assert lineage["nodes"][0]["inputs"] == {"student": made["student"], "teacher": made["teacher"]}
    assert by_id[made["student"]]["inputs"]["labels"] == made["labels"]
    assert by_id[made["store"]]["made_by"]["stage"] == "ingest"
    assert len(by_id) == 7
    used = api.get(f"/artifacts/{made['centroids']}/lineage").json()["used_by"]
    assert {reader["stage"] for reader in used} == {"label", "report"}


def test_images_of_the_store_are_seen(api: TestClient, made: Made) -> None:
    answer = api.get(f"/artifacts/{made['store']}/images/5")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    assert api.get(f"/artifacts/{made['store']}/images/6").json()["code"] == "image_not_found"
