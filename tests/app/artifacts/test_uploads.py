"""Uploads arrive whole or not at all."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings

DATA = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(DATA).hexdigest()


def left_behind(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def send(api: TestClient, content: Any = DATA, **params: str) -> Any:  # noqa: ANN401
    return api.post("/uploads", params={"filename": "x.zip", **params}, content=content)


def test_a_file_arrives_with_its_digest(api: TestClient, storage_root: Path) -> None:
    answer = send(api, sha256=SHA256.upper())
    assert answer.status_code == 201
    upload = answer.json()
    assert (upload["sha256"], upload["bytes"], upload["file"]) == (SHA256, len(DATA), "x.zip")
    assert [path.read_bytes() for path in left_behind(storage_root)] == [DATA]
    assert api.get(f"/artifacts/{upload['id']}/files/x.zip").content == DATA


def test_a_chunked_body_needs_no_length(api: TestClient) -> None:
    assert send(api, iter([DATA[:1000], DATA[1000:]])).json()["sha256"] == SHA256


def test_what_is_wrong_leaves_nothing(api: TestClient, storage_root: Path) -> None:
    for name in ("../x", "a/b", "a\\b", ".hidden", "", "a\nb", "x" * 201):
        assert send(api, filename=name).json()["code"] == "bad_filename"
    assert send(api, sha256="0" * 64).json()["code"] == "digest_mismatch"
    assert send(api, sha256="zz").json()["code"] == "invalid_request"
    assert send(api, b"").json()["code"] == "empty_upload"
    assert left_behind(storage_root) == []
    assert api.get("/artifacts", params={"kind": "upload"}).json()["items"] == []


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_over_the_limit_is_refused(settings: Settings, storage_root: Path, announced: bool) -> None:
    app = create_app(settings.model_copy(update={"max_upload_bytes": len(DATA) - 1}))
    with TestClient(app, base_url="http://127.0.0.1") as api:
        answer = send(api, DATA if announced else iter([DATA]))
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert left_behind(storage_root) == []


def test_a_body_shorter_than_announced_is_refused(api: TestClient, storage_root: Path) -> None:
    headers = {"Content-Length": str(len(DATA) + 1)}
    answer = api.post("/uploads", params={"filename": "x.zip"}, content=DATA, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "upload_truncated")
    assert left_behind(storage_root) == []


@pytest.fixture
def port(settings: Settings) -> Iterator[int]:
    """The service on a real socket."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_a_client_that_breaks_off_leaves_nothing(port: int, api: TestClient, storage_root: Path) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = "POST /uploads?filename=x.zip HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3000000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 2_000_000)
        while not left_behind(storage_root):
            time.sleep(0.01)
    while left_behind(storage_root):
        time.sleep(0.01)
    assert api.get("/artifacts", params={"kind": "upload"}).json()["items"] == []
