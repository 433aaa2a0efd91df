"""Seconds that the service adds to a stage, beside calling the stage's function directly.

`python -m benchmarks.overhead` starts PostgreSQL and Valkey in a temporary folder, and a scheduler and a worker as
processes, ingests the same few images several times by the service and directly, and prints JSON (medians).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, sessionmaker

from app.datasets import service as datasets
from app.datasets.schemas import DatasetCreate
from app.db.migrate import upgrade
from app.embedded.servers import Servers
from app.runs.tables import TERMINAL, Attempt, Run, Stage
from app.settings import Settings
from app.workers.tables import Worker
from worker.config.ingest import IngestConfig
from worker.stages.ingest import IngestInputs, run
from worker.stages.standalone import LocalContext

LOOK_SECONDS = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=32)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="passdown-overhead-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        images = draw(folder / "images", arguments.images)
        config = IngestConfig(side=64, processes=1)
        direct = statistics.median(ingest_directly(config, images, folder) for _ in range(arguments.rounds))
        with service(folder) as (settings, sessions):
            rounds = [ingest_by_service(config, settings, sessions) for _ in range(arguments.rounds)]
    print(json.dumps(report(direct, rounds), indent=2))


def draw(folder: Path, count: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def ingest_directly(config: IngestConfig, images: Path, folder: Path) -> float:
    """Seconds of the function alone, in a process that has all imports behind it."""
    started = time.perf_counter()
    run(config, IngestInputs(source=images), LocalContext(folder / "direct" / uuid.uuid4().hex))
    return time.perf_counter() - started


@contextmanager
def service(folder: Path) -> Iterator[tuple[Settings, sessionmaker[Session]]]:
    """Servers, scheduler and one worker, with the settings they have by default."""
    with ExitStack() as stack:
        servers = stack.enter_context(Servers(folder / "servers"))
        upgrade(servers.postgres.url())
        settings = Settings(
            database_url=SecretStr(servers.postgres.url()),
            broker_url=SecretStr(servers.valkey.url()),
            storage_root=folder / "storage",
            dataset_roots={"data": folder / "images"},
        )
        sessions = sessionmaker(create_engine(servers.postgres.url()), expire_on_commit=False)
        for command in (["worker.scheduler"], ["worker.main", "--device", "cpu"]):
            stack.enter_context(process([sys.executable, "-m", *command], variables(settings), folder / "log"))
        wait_until(lambda: a_worker_is_there(sessions))
        yield settings, sessions


def variables(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "PASSDOWN_DATABASE_URL": settings.database_url.get_secret_value(),
        "PASSDOWN_BROKER_URL": settings.broker_url.get_secret_value(),
        "PASSDOWN_STORAGE_ROOT": str(settings.storage_root),
        "PASSDOWN_DATASET_ROOTS": json.dumps({name: str(path) for name, path in settings.dataset_roots.items()}),
    }


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as file:
        running = subprocess.Popen(command, env=environment, stderr=file)
    try:
        yield
    finally:
        running.terminate()
        running.wait()


def ingest_by_service(config: IngestConfig, settings: Settings, sessions: sessionmaker[Session]) -> dict[str, float]:
    """Seconds from the commit that queues the stage to its claim, and from the claim to its end."""
    name = f"images-{uuid.uuid4().hex}"
    source = {"kind": "folder", "root": "data"}
    request = DatasetCreate.model_validate({"name": name, "source": source, "config": config.model_dump()})
    with sessions.begin() as session:
        dataset = datasets.register(session, settings, request)
    wait_until(lambda: state_of(sessions, dataset.id) in TERMINAL)
    with sessions() as session:
        [(stage, attempt)] = session.execute(
            select(Stage, Attempt)
            .join(Attempt, Attempt.stage_id == Stage.id)
            .join(Run, Run.id == Stage.run_id)
            .where(Run.dataset_id == dataset.id)
        )
    assert stage.state == "succeeded", stage.detail
    assert stage.queued_at is not None
    assert attempt.finished_at is not None
    return {
        "queued_to_claimed": (attempt.started_at - stage.queued_at).total_seconds(),
        "claimed_to_finished": (attempt.finished_at - attempt.started_at).total_seconds(),
    }


def a_worker_is_there(sessions: sessionmaker[Session]) -> bool:
    with sessions() as session:
        return session.scalar(select(Worker.name)) is not None


def state_of(sessions: sessionmaker[Session], dataset_id: uuid.UUID) -> str | None:
    with sessions() as session:
        return session.scalar(select(Run.state).where(Run.dataset_id == dataset_id))


def wait_until(what: Callable[[], bool]) -> None:
    while not what():
        time.sleep(LOOK_SECONDS)


def report(direct: float, rounds: list[dict[str, float]]) -> dict[str, float]:
    queued = statistics.median(times["queued_to_claimed"] for times in rounds)
    claimed = statistics.median(times["claimed_to_finished"] for times in rounds)
    return {
        "rounds": len(rounds),
        "direct_seconds": round(direct, 3),
        "queued_to_claimed_seconds": round(queued, 3),
        "claimed_to_finished_seconds": round(claimed, 3),
        "overhead_seconds": round(queued + claimed - direct, 3),
        "of_which_starting_python_and_importing_the_stage_seconds": round(import_seconds("ingest"), 3),
        "importing_a_stage_that_trains_seconds": round(import_seconds("pretrain"), 3),
    }


def import_seconds(stage: str) -> float:
    command = [sys.executable, "-c", f"import worker.child, worker.stages.{stage}"]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
