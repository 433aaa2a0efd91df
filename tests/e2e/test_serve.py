"""`passdown serve` as its users see it: stopped, killed, started again."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.client.client import PassdownClient
from app.client.models import Stage
from app.embedded.daemon import wait_gone
from tests.e2e.conftest import SIDE, TINY, Served, serve
from tests.e2e.drawn import draw_images


def descendants(served: Served) -> list[psutil.Process]:
    return psutil.Process(served.process.pid).children(recursive=True)


def named(processes: list[psutil.Process], word: str) -> psutil.Process:
    return next(process for process in processes if word in process.cmdline())


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(served: Served, number: signal.Signals) -> None:
    started = descendants(served)
    assert len(started) >= 6
    assert served.stop(number) == 0
    assert all(wait_gone(process, 5) for process in started)
    assert not (served.folder / "service.env").exists()


def test_nothing_outlives_a_killed_service(served: Served) -> None:
    started = descendants(served)
    served.process.kill()
    served.process.wait()
    assert all(wait_gone(process, 60) for process in started)


def test_a_part_that_dies_is_started_again(served: Served) -> None:
    parts = [named(descendants(served), word) for word in ("uvicorn", "worker.scheduler", "worker.main")]
    for part in parts:
        part.kill()
    with served.client() as client:
        until(lambda: not any(part.is_running() for part in parts) and client.ready())


def test_a_lost_database_ends_the_service_with_a_reason(served: Served) -> None:
    next(one for one in descendants(served) if one.name() == "postgres").kill()
    _, words = served.process.communicate(timeout=120)
    assert served.process.returncode == 1
    assert "error: PostgreSQL ended with exit code -9" in words


def test_a_port_in_use_is_told_in_one_line(served: Served, tmp_path: Path) -> None:
    port = served.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "app.cli.main", "serve", "--data", str(tmp_path), "--port", port]
    second = subprocess.run(command, capture_output=True, text=True)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == f"error: port {port} is in use: end what listens there, or choose another with --port\n"


def test_a_run_goes_on_after_a_restart_and_after_a_kill(workplace: Path) -> None:
    images, folder = workplace / "drawn", workplace / "restarted"
    draw_images(images, per_class=12)
    schedule = {"epochs": 100_000, "batch": 8, "checkpoint_seconds": 0.5}
    long = {**TINY, "pretrain": {**TINY["pretrain"], "schedule": schedule}}
    first = serve(folder, images)
    with first.client() as client:
        client.register_folder("drawn", "data", ".", {"side": SIDE})
        run = client.create_run("drawn", preset="demo", config=long, stages=["pretrain"])
        begun = pretraining(client, run.id, attempt=1, beyond=0)
        assert first.stop() == 0
    second = serve(folder, images)
    with second.client() as client:
        drained = pretraining(client, run.id, attempt=2, beyond=begun.progress.done)
        assert (drained.model_extra or {})["failure_count"] == 0
        second.process.kill()
        second.process.wait()
    third = serve(folder, images)
    with third.client() as client:
        pretraining(client, run.id, attempt=3, beyond=drained.progress.done)
        client.cancel(run.id)
        assert client.wait(run.id).state == "cancelled"
    assert third.stop() == 0


def pretraining(client: PassdownClient, run: str, attempt: int, beyond: int) -> Stage:
    """The stage, once this attempt has taken it beyond so many images."""
    found = client.wait_until(
        run, lambda run: run.stages[0].attempt_no == attempt and run.stages[0].progress.done > beyond
    )
    assert found.state == "running"
    return found.stages[0]
