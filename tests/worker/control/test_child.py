"""The child process alone: its events, its orders, its end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.worker.control.conftest import PLAY, eventually
from worker.child_process import ChildProcess, child_environment
from worker.config.pipeline import StageName
from worker.protocol import EXIT_FAILED, EXIT_STOPPED, Event, Failed, Finished, LogEntry, Progress, Stopped, Task


def task(workdir: Path, **config: Any) -> Task:  # noqa: ANN401
    workdir.mkdir(parents=True, exist_ok=True)
    return Task(stage=StageName.cluster, config=config, inputs={}, workdir=workdir, resume_from=None, device="cpu")


class Told:
    """All events of a child so far."""

    def __init__(self, child: ChildProcess) -> None:
        self.child = child
        self.events: list[Event] = []

    def __call__(self) -> list[Event]:
        while not self.child.events.empty():
            self.events.append(self.child.events.get())
        return self.events


def start(workdir: Path, **config: Any) -> ChildProcess:  # noqa: ANN401
    return ChildProcess(PLAY, task(workdir, **config), child_environment(os.environ, "cpu"))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return tmp_path / "1"


@pytest.fixture
def gated(workdir: Path, gate: Path) -> Iterator[ChildProcess]:
    """A child that waits at its gate."""
    child = start(workdir, gate=str(gate), helper=True)
    yield child
    child.close()


def end_of(child: ChildProcess) -> tuple[int, list[Event]]:
    eventually(child.exited)
    return child.close(), Told(child)()


def test_a_finished_stage_exits_with_zero_and_names_its_outputs(workdir: Path) -> None:
    code, events = end_of(start(workdir, steps=2))
    assert code == 0
    assert isinstance(events[-1], Finished)
    assert events[-1].outputs["centroids"].path == workdir / "centroids"


def test_the_last_progress_is_told_however_fast_the_steps_follow(workdir: Path) -> None:
    _, events = end_of(start(workdir, steps=50))
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == 50
    assert len(progress) < 50


def test_what_a_stage_prints_is_no_event(workdir: Path) -> None:
    child = start(workdir)
    eventually(child.exited)
    child.close()
    assert child.last_words == "words that are no events"


def test_a_stopped_stage_says_so(gated: ChildProcess) -> None:
    told = Told(gated)
    eventually(lambda: any(isinstance(event, Progress) for event in told()))
    gated.stop()
    eventually(gated.exited)
    assert gated.close() == EXIT_STOPPED
    assert isinstance(told()[-1], Stopped)


def test_a_refusal_exits_with_its_own_code(workdir: Path) -> None:
    code, events = end_of(start(workdir, fault="refuse"))
    assert code == EXIT_FAILED
    assert isinstance(events[-1], Failed)


def test_killing_a_child_ends_its_helpers(gated: ChildProcess) -> None:
    helper = _helper(gated)
    gated.kill()
    eventually(lambda: _is_gone(helper))
    assert gated.close() == -9


def test_an_orphan_ends_itself_and_its_helpers(tmp_path: Path, gate: Path) -> None:
    # A supervisor that starts a child, names it, and is killed as it would be by a full memory.
    code = (
        "import os, sys, pathlib\n"
        "from tests.worker.control.test_child import start, _helper\n"
        "child = start(pathlib.Path(sys.argv[1]), gate=sys.argv[2], helper=True)\n"
        "sys.stdout.write(f'{child.pid} {_helper(child)}'); sys.stdout.flush()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "1"), str(gate)]
    supervisor = subprocess.run(command, capture_output=True, text=True, check=False)
    child, helper = (int(pid) for pid in supervisor.stdout.split())
    assert supervisor.returncode == -9
    eventually(lambda: _is_gone(child))
    eventually(lambda: _is_gone(helper))


def _helper(child: ChildProcess) -> int:
    told = Told(child)
    message = eventually(lambda: [event.message for event in told() if isinstance(event, LogEntry)])[0]
    return int(message.removeprefix("helper "))


def _is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_a_child_inherits_no_secrets() -> None:
    parent = {"PASSDOWN_DATABASE_URL": "secret", "PGPASSWORD": "secret", "PATH": "/bin", "OMP_NUM_THREADS": "2"}
    kept = child_environment(parent, "cpu")
    assert "secret" not in kept.values()
    assert (kept["PATH"], kept["OMP_NUM_THREADS"]) == ("/bin", "2")


@pytest.mark.parametrize(
    ("device", "visible", "seen"),
    [
        ("cpu", "0,1", ""),
        ("cuda:1", None, "1"),
        ("cuda:1", "4,7", "7"),
        ("cuda", "4,7", "4,7"),
    ],
)
def test_a_child_sees_its_workers_device_only(device: str, visible: str | None, seen: str) -> None:
    parent = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert child_environment(parent, device)["CUDA_VISIBLE_DEVICES"] == seen
