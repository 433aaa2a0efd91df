import hashlib
import os
import threading
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app.client.client import PassdownClient
from app.client.errors import ApiError, Unreachable
from app.client.models import Run, Stage, why
from app.embedded.ports import free_port
from tests.app.client.listening import Listening
from tests.app.hand import Hand


@pytest.fixture
def cells(client: PassdownClient, hand: Hand, dataset_root: Path) -> str:
    """A dataset that is ready."""
    folder = dataset_root / "cells"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "one.png")
    client.register_folder("cells", "data", "cells", {"side": 160})
    hand.work_off()
    return client.wait_for_dataset("cells").name


def submit(client: PassdownClient, **fields: object) -> Run:
    return client.create_run("cells", preset="demo", config={"cluster": {"k": 2}}, **fields)


@pytest.mark.usefixtures("cells")
def test_a_run_is_waited_for_until_it_ends(client: PassdownClient, hand: Hand) -> None:
    run = submit(client)
    assert run.state == "queued"
    states: list[str] = []
    worker = threading.Thread(target=hand.work_off)
    worker.start()
    done = client.wait(run.id, lambda run: states.append(run.state), every=0.01)
    worker.join()
    assert done.state == "succeeded"
    assert states[-1] == "succeeded"
    assert done.artifact("weights").kind == "weights"
    with pytest.raises(KeyError):
        done.artifact("upload")


@pytest.mark.usefixtures("cells")
def test_events_are_followed_across_a_restart_of_the_service(
    client: PassdownClient, hand: Hand, listening: Listening
) -> None:
    run = submit(client)
    seen = []
    for event in client.follow(run.id):
        seen.append(event)
        if event.seq == 1:
            listening.stop()
            hand.work_off()
            listening.start()
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].type == "run.succeeded"


@pytest.mark.usefixtures("cells")
def test_waiting_bears_a_restart_of_the_service(client: PassdownClient, hand: Hand, listening: Listening) -> None:
    run = submit(client)
    listening.stop()
    again = threading.Timer(0.3, listening.start)
    again.start()
    hand.work_off()
    assert client.wait(run.id, every=0.05).state == "succeeded"
    again.join()


def test_a_service_that_is_not_there_is_said_so() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with PassdownClient(url, patience=0) as client:
        assert not client.ready()
        with pytest.raises(Unreachable, match=url):
            client.run("any")
        with pytest.raises(Unreachable, match=url):
            client.wait("any", every=0.01)
        with pytest.raises(Unreachable, match=url):
            next(client.follow("any"))


@pytest.mark.usefixtures("cells")
def test_a_repeated_request_makes_one_run(client: PassdownClient) -> None:
    assert submit(client, key="once").id == submit(client, key="once").id
    assert submit(client).id != submit(client).id


@pytest.mark.usefixtures("cells")
def test_lists_are_read_page_by_page(client: PassdownClient) -> None:
    made = [submit(client).id for _ in range(5)]
    assert [run.id for run in client.runs(kind="pipeline", limit="2")] == made[::-1]
    assert [dataset.name for dataset in client.datasets()] == ["cells"]


@pytest.mark.usefixtures("cells")
def test_cancel_and_resume(client: PassdownClient) -> None:
    run = submit(client, name="mine")
    assert client.cancel("mine").state == "cancelled"
    assert client.resume("mine").state == "queued"
    assert client.run("mine").id == run.id


@pytest.mark.usefixtures("cells")
def test_a_refusal_carries_its_code_and_sentence(client: PassdownClient) -> None:
    with pytest.raises(ApiError, match="no such setting") as caught:
        client.create_run("cells", config={"cluster": {"kk": 2}})
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")
    with pytest.raises(ApiError, match="There is no run 'other'") as caught:
        client.run("other")
    assert (caught.value.status, caught.value.code) == (404, "run_not_found")


def test_an_answer_that_is_no_problem_json_is_an_error_too() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(502, text="<h1>Bad Gateway</h1>"))
    with PassdownClient(transport=transport) as client, pytest.raises(ApiError) as caught:
        client.run("any")
    assert (caught.value.code, str(caught.value)) == ("http_502", "Bad Gateway")


def test_an_upload_is_sent_whole(client: PassdownClient, tmp_path: Path) -> None:
    path = tmp_path / "cells.zip"
    path.write_bytes(os.urandom(3 << 20))
    told: list[int] = []
    upload = client.upload(path, lambda done, total: told.append(done))
    assert upload.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told[-1] == upload.bytes == 3 << 20


@pytest.mark.usefixtures("cells")
def test_a_deleted_dataset_is_gone(client: PassdownClient) -> None:
    client.delete_dataset("cells")
    with pytest.raises(ApiError):
        client.dataset("cells")


def test_why_a_run_failed_fits_a_line() -> None:
    stage = Stage(name="classify", state="failed", reason="crashed", detail="Traceback:\n  somewhere\nKeyError: 'x'\n")
    assert why(Run(id="1", state="failed", stages=[stage])) == "stage classify: crashed: KeyError: 'x'"
    assert why(Run(id="1", state="cancelled", reason="cancelled")) == "cancelled"
