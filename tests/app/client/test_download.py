import hashlib
import os
from pathlib import Path

import pytest

from app.client.client import PassdownClient
from app.client.download import TRIES
from app.client.errors import ApiError, CorruptDownload, Unreachable
from tests.app.client.flaky_server import serving

BODY = os.urandom(100_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.client.download.FIRST_PAUSE", 0)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights.bin"


def test_a_file_arrives_whole_and_alone(target: Path) -> None:
    with serving(BODY) as server, PassdownClient(server.url) as client:
        assert client.download("/file", target) == DIGEST
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


def test_an_empty_file_is_a_file(target: Path) -> None:
    with serving(b"") as server, PassdownClient(server.url) as client:
        client.download("/file", target)
    assert target.read_bytes() == b""


def test_a_cut_connection_is_taken_up_where_it_was_cut(target: Path) -> None:
    with serving(BODY, hang_up_after=30_000) as server, PassdownClient(server.url) as client:
        assert client.download("/file", target) == DIGEST
        assert server.ranges == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]
    assert target.read_bytes() == BODY


def test_a_later_call_takes_up_what_an_earlier_one_left(target: Path) -> None:
    with serving(BODY) as server, PassdownClient(server.url) as client:
        target.with_name("weights.bin.part").write_bytes(BODY[:70_000])
        target.with_name("weights.bin.part.etag").write_text(f'"{DIGEST}"')
        assert client.download("/file", target) == DIGEST
        assert server.ranges == ["bytes=70000-"]


def test_what_had_arrived_wholly_is_only_checked(target: Path) -> None:
    with serving(BODY) as server, PassdownClient(server.url) as client:
        target.with_name("weights.bin.part").write_bytes(BODY)
        target.with_name("weights.bin.part.etag").write_text(f'"{DIGEST}"')
        assert client.download("/file", target) == DIGEST
    assert target.read_bytes() == BODY


def test_a_changed_file_is_fetched_anew(target: Path) -> None:
    with serving(BODY) as server, PassdownClient(server.url) as client:
        target.with_name("weights.bin.part").write_bytes(b"old" * 1000)
        target.with_name("weights.bin.part.etag").write_text('"the old one"')
        assert client.download("/file", target) == DIGEST
    assert target.read_bytes() == BODY


def test_wrong_bytes_are_never_given_the_name(target: Path) -> None:
    with serving(BODY) as server, PassdownClient(server.url) as client:
        server.tag = "0" * 64
        with pytest.raises(CorruptDownload, match="was announced"):
            client.download("/file", target)
    assert list(target.parent.iterdir()) == []


def test_a_server_that_sends_nothing_is_given_up(target: Path) -> None:
    with serving(BODY, hang_up_after=0) as server, PassdownClient(server.url) as client:
        with pytest.raises(Unreachable, match="stopped at 0 bytes"):
            client.download("/file", target)
        assert len(server.ranges) == TRIES
    assert not target.exists()


def test_the_number_of_bytes_is_told_as_they_arrive(target: Path) -> None:
    told: list[tuple[int, int | None]] = []
    with serving(BODY, hang_up_after=60_000) as server, PassdownClient(server.url) as client:
        client.download("/file", target, advance=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_more_than_the_file_is_refused_and_not_kept(target: Path) -> None:
    with serving(BODY) as server, PassdownClient(server.url) as client:
        target.with_name("weights.bin.part").write_bytes(BODY + b"more")
        target.with_name("weights.bin.part.etag").write_text(f'"{DIGEST}"')
        with pytest.raises(CorruptDownload):
            client.download("/file", target)
        assert client.download("/file", target) == DIGEST


def test_a_refusal_writes_nothing(target: Path) -> None:
    with serving(BODY) as server, PassdownClient(server.url) as client, pytest.raises(ApiError) as caught:
        client.download("/missing", target)
    assert caught.value.status == 404
    assert list(target.parent.iterdir()) == []
