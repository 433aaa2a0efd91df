import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import URL, func, make_url, select
from sqlalchemy.orm import Session, sessionmaker

from app.artifacts.tables import Artifact, StageOutput
from app.embedded.servers import Servers
from app.journal.tables import Event
from app.runs import service as runs
from app.runs.tables import Attempt, Run, Stage, StageState
from app.settings import Settings
from app.storage import Storage
from worker.database import make_sessions
from worker.supervisor import Supervisor

PLAY = (sys.executable, "-P", "-m", "tests.worker.control.play_child")
PATIENCE = 60


def eventually(what: Callable[[], Any]) -> Any:  # noqa: ANN401
    """The first true answer of `what`."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := what()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
    return answer


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A lease that a busy machine doesn't lose by accident."""
    return settings.model_copy(
        update={"lease_seconds": 4, "heartbeat_seconds": 0.3, "retry_seconds": 0.05, "cancel_grace_seconds": 60}
    )


@pytest.fixture
def sessions(settings: Settings) -> sessionmaker[Session]:
    return make_sessions(settings, "tests")


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage(settings.storage_root)


class Desk:
    """What a test does with stages: make them, look at them, cancel them."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self.sessions = sessions

    def queue(self, device: str = "any", max_attempts: int = 3, name: str = "cluster", **config: Any) -> uuid.UUID:  # noqa: ANN401
        """A queued stage that is a run of its own."""
        with self.sessions.begin() as session:
            run = Run(config={}, inputs={}, device=device)
            session.add(run)
            session.flush()
            stage = Stage(
                run_id=run.id,
                name=name,
                position=0,
                config={key: str(value) if isinstance(value, Path) else value for key, value in config.items()},
                state=StageState.queued,
                queued_at=func.now(),
                max_attempts=max_attempts,
            )
            session.add(stage)
            session.flush()
            return stage.id

    def stage(self, stage_id: uuid.UUID) -> Stage:
        with self.sessions() as session:
            return session.get_one(Stage, stage_id)

    def run(self, stage_id: uuid.UUID) -> Run:
        with self.sessions() as session:
            return session.scalars(select(Run).join(Stage, Stage.run_id == Run.id).where(Stage.id == stage_id)).one()

    def attempts(self, stage_id: uuid.UUID) -> list[Attempt]:
        with self.sessions() as session:
            query = select(Attempt).where(Attempt.stage_id == stage_id).order_by(Attempt.attempt_no)
            return list(session.scalars(query))

    def outcomes(self, stage_id: uuid.UUID) -> list[tuple[str, str | None]]:
        return [(attempt.state, attempt.reason) for attempt in self.attempts(stage_id)]

    def outputs(self, stage_id: uuid.UUID) -> list[Artifact]:
        with self.sessions() as session:
            query = select(Artifact).join(StageOutput, StageOutput.artifact_id == Artifact.id)
            return list(session.scalars(query.where(StageOutput.stage_id == stage_id)))

    def events(self, stage_id: uuid.UUID) -> list[str]:
        with self.sessions() as session:
            query = select(Event.type).join(Stage, Stage.run_id == Event.run_id).where(Stage.id == stage_id)
            return list(session.scalars(query.order_by(Event.seq)))

    def cancel(self, stage_id: uuid.UUID) -> None:
        with self.sessions.begin() as session:
            runs.cancel(session, session.get_one(Stage, stage_id).run_id)

    def until(self, stage_id: uuid.UUID, state: StageState) -> Stage:
        eventually(lambda: self.stage(stage_id).state == state)
        return self.stage(stage_id)

    def until_counted(self, stage_id: uuid.UUID) -> None:
        """Until the playing stage waits at its gate."""
        eventually(lambda: 0 < self.stage(stage_id).progress_total == self.stage(stage_id).progress_done)


@pytest.fixture
def desk(sessions: sessionmaker[Session]) -> Desk:
    return Desk(sessions)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def drain() -> threading.Event:
    return threading.Event()


@pytest.fixture
def supervisor(settings: Settings, drain: threading.Event) -> Supervisor:
    return Supervisor(settings, "tester", "cpu", drain, PLAY)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


class Outage:
    """Within it, the test's database accepts nobody, and whoever was connected no longer is."""

    def __init__(self, servers: Servers, url: URL) -> None:
        self._servers = servers
        self._name = str(url.database)

    def __enter__(self) -> Self:
        self._allow(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._allow(True)

    def _allow(self, allowed: bool) -> None:
        with self._servers.postgres.connect("postgres") as connection:
            connection.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS {allowed}")
            if not allowed:
                query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(query, (self._name,))


@pytest.fixture
def outage(servers: Servers, settings: Settings) -> Outage:
    return Outage(servers, make_url(settings.database_url.get_secret_value()))


class Processes:
    """Real scheduler and worker processes, as an installation runs them; whatever still runs at the end is killed."""

    def __init__(self, settings: Settings, log: Path) -> None:
        values = settings.model_dump(mode="json") | {
            "database_url": settings.database_url.get_secret_value(),
            "broker_url": settings.broker_url.get_secret_value(),
        }
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        self._environment = os.environ | {f"PASSDOWN_{name.upper()}": text for name, text in texts.items()}
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []

    def scheduler(self) -> subprocess.Popen[bytes]:
        return self._start("worker.scheduler")

    def worker(self) -> subprocess.Popen[bytes]:
        """A worker whose children play."""
        return self._start("tests.worker.control.play_worker")

    def real_worker(self) -> subprocess.Popen[bytes]:
        return self._start("worker.main", "--device", "cpu")

    def log(self) -> str:
        return self._log.read_text()

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", *command], env=self._environment, stderr=log)
        self._running.append(process)
        return process

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def processes(settings: Settings, tmp_path: Path) -> Iterator[Processes]:
    started = Processes(settings, tmp_path / "log")
    yield started
    started.close()
