"""What is collected, and above all what isn't."""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.artifacts.tables import Artifact
from app.runs.tables import Stage
from app.storage import Storage, StoredDirectory
from app.workers.tables import Worker
from tests.worker.control.conftest import Desk
from worker.garbage import Garbage

LONG_AGO = time.time() - 40 * 24 * 3600


@pytest.fixture
def garbage(desk: Desk, storage: Storage) -> Garbage:
    return Garbage(desk.sessions, storage)


def age(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (LONG_AGO, LONG_AGO))


def stored(storage: Storage, content: str, aged: bool = True) -> StoredDirectory:
    source = storage.incoming()
    source.mkdir()
    (source / "file").write_text(content)
    directory = storage.commit(source)
    if aged:
        age(storage.artifact(directory.sha256))
    return directory


def refer(desk: Desk, directory: StoredDirectory, deleted: timedelta | None = None) -> None:
    gone = None if deleted is None else datetime.now(UTC) - deleted
    facts = {"kind": "upload", "role": "upload", "bytes": 1, "files": [], "summary": {}}
    with desk.sessions.begin() as session:
        session.add(Artifact(sha256=directory.sha256, deleted_at=gone, **facts))


def test_artifacts_go_once_nothing_has_referred_to_them_for_a_day(
    desk: Desk, garbage: Garbage, storage: Storage
) -> None:
    contents = ("never used", "used", "young", "just deleted", "long deleted", "deleted and used")
    kept = {content: stored(storage, content, aged=content != "young") for content in contents}
    refer(desk, kept["used"])
    refer(desk, kept["just deleted"], deleted=timedelta(minutes=1))
    refer(desk, kept["long deleted"], deleted=timedelta(days=3))
    refer(desk, kept["deleted and used"], deleted=timedelta(days=3))
    refer(desk, kept["deleted and used"])
    garbage.collect()
    left = {content for content, directory in kept.items() if storage.artifact(directory.sha256).is_dir()}
    assert left == {"used", "young", "just deleted", "deleted and used"}


def test_content_that_is_stored_again_is_young_again(garbage: Garbage, storage: Storage) -> None:
    directory = stored(storage, "twice")
    stored(storage, "twice", aged=False)
    garbage.collect()
    assert storage.artifact(directory.sha256).is_dir()


@pytest.mark.parametrize(
    ("state", "finished", "stays"),
    [
        ("succeeded", timedelta(0), False),
        ("failed", timedelta(days=1), True),
        ("failed", timedelta(days=30), False),
        ("cancelled", timedelta(days=1), True),
        ("running", None, True),
        ("queued", None, True),
    ],
)
def test_work_stays_as_long_as_it_may_be_resumed(
    desk: Desk, garbage: Garbage, storage: Storage, state: str, finished: timedelta | None, stays: bool
) -> None:
    stage_id = desk.queue()
    at = None if finished is None else datetime.now(UTC) - finished
    with desk.sessions.begin() as session:
        session.execute(update(Stage).values(state=state, finished_at=at))
    work = storage.attempt(stage_id, 1)
    work.mkdir(parents=True)
    age(work.parent)
    garbage.collect()
    assert work.exists() == stays


def test_work_of_an_unknown_stage_stays_for_a_day(garbage: Garbage, storage: Storage) -> None:
    old, young = storage.attempt(uuid.uuid4(), 1), storage.attempt(uuid.uuid4(), 1)
    old.mkdir(parents=True)
    young.mkdir(parents=True)
    age(old.parent)
    garbage.collect()
    assert (old.exists(), young.exists()) == (False, True)


def test_bytes_that_never_arrived_go(garbage: Garbage, storage: Storage) -> None:
    old, young, growing = storage.incoming(), storage.incoming(), storage.incoming()
    old.write_text("cut off")
    young.write_text("arriving")
    growing.mkdir()
    age(old)
    age(growing)
    (growing / "part").write_text("still arriving")
    os.utime(growing, (LONG_AGO, LONG_AGO))
    garbage.collect()
    assert (old.exists(), young.exists(), growing.exists()) == (False, True, True)


def test_a_worker_that_was_long_unseen_is_forgotten(desk: Desk, garbage: Garbage) -> None:
    with desk.sessions.begin() as session:
        for name, silence in (("alive", timedelta(seconds=5)), ("dead", timedelta(hours=1))):
            session.add(Worker(name=name, host="here", device="cpu", seen_at=datetime.now(UTC) - silence))
    garbage.collect()
    with desk.sessions() as session:
        assert session.scalars(select(Worker.name)).all() == ["alive"]
