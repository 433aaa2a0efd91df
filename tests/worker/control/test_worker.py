"""Real workers and a real scheduler, each its own process, and what befalls them."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import redis
from PIL import Image
from sqlalchemy import select

from app.datasets import service as datasets
from app.datasets.schemas import DatasetCreate
from app.datasets.tables import Dataset, DatasetState
from app.journal.tables import LogLine
from app.outbox.tables import Doorbell
from app.runs.tables import Attempt, Stage, StageState
from app.settings import Settings
from app.workers.tables import Worker
from tests.worker.control.conftest import Desk, Processes, eventually
from worker.celery_app import make_celery, ring


def queue_with_doorbell(desk: Desk, **config: object) -> uuid.UUID:
    stage_id = desk.queue(**config)  # type: ignore[arg-type]
    with desk.sessions.begin() as session:
        session.add(Doorbell(stage_id=stage_id, queue="any"))
    return stage_id


def workers(desk: Desk) -> list[Worker]:
    with desk.sessions() as session:
        return list(session.scalars(select(Worker)))


def child_of(processes: Processes, nth: int = -1) -> int:
    """The process id of the newest child, from the workers' log."""
    lines = [line for line in processes.log().splitlines() if '"child_started"' in line]
    return int(lines[nth].partition('"pid": ')[2].partition(",")[0])


def interrupt(process: subprocess.Popen[bytes]) -> bool:
    """Ctrl-C once more; True when it was not needed any more."""
    process.send_signal(signal.SIGINT)
    return process.returncode is not None


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_worker_is_listed_while_it_lives(desk: Desk, processes: Processes) -> None:
    worker = processes.real_worker()
    [row] = eventually(lambda: workers(desk))
    assert (row.device, row.name.split(":")[1]) == ("cpu", str(worker.pid))
    eventually(lambda: '"worker_started"' in processes.log())
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert workers(desk) == []


def test_a_killed_child_and_a_wiped_broker_stop_no_run(
    desk: Desk, processes: Processes, gate: Path, settings: Settings
) -> None:
    processes.scheduler()
    processes.worker()
    stage_id = queue_with_doorbell(desk, gate=gate)
    desk.until_counted(stage_id)
    with redis.Redis.from_url(settings.broker_url.get_secret_value()) as broker:
        broker.flushdb()
        broker.client_kill_filter(_type="normal", skipme=True)
    os.kill(child_of(processes), signal.SIGKILL)
    eventually(lambda: desk.stage(stage_id).attempt_no == 2)
    gate.touch()
    desk.until(stage_id, StageState.succeeded)
    assert desk.outcomes(stage_id) == [("failed", "killed"), ("succeeded", None)]
    assert desk.outputs(stage_id)[0].summary == {"start": 2}


def test_a_killed_workers_child_ends_and_another_worker_goes_on(desk: Desk, processes: Processes, gate: Path) -> None:
    processes.scheduler()
    doomed = processes.worker()
    stage_id = queue_with_doorbell(desk, gate=gate)
    desk.until_counted(stage_id)
    orphan = child_of(processes)
    processes.worker()
    doomed.kill()
    eventually(lambda: not is_running(orphan))
    eventually(lambda: desk.stage(stage_id).attempt_no == 2)
    gate.touch()
    desk.until(stage_id, StageState.succeeded)
    assert desk.outcomes(stage_id) == [("lost", "worker_lost"), ("succeeded", None)]
    first, second = (attempt.owner for attempt in desk.attempts(stage_id))
    assert first.split(":")[1] == str(doomed.pid) != second.split(":")[1]


def test_a_drained_worker_leaves_its_stage_to_another(desk: Desk, processes: Processes, gate: Path) -> None:
    processes.scheduler()
    first = processes.worker()
    stage_id = queue_with_doorbell(desk, gate=gate)
    desk.until_counted(stage_id)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 0
    assert desk.outcomes(stage_id) == [("drained", "drained")]
    assert workers(desk) == []
    processes.worker()
    eventually(lambda: desk.stage(stage_id).attempt_no == 2)
    gate.touch()
    desk.until(stage_id, StageState.succeeded)
    assert desk.stage(stage_id).failure_count == 0


def test_only_a_second_ctrl_c_ends_a_worker_at_once(desk: Desk, processes: Processes, gate: Path) -> None:
    processes.scheduler()
    worker = processes.worker()
    stage_id = queue_with_doorbell(desk, gate=gate, deaf=True)
    desk.until_counted(stage_id)
    child = child_of(processes)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        worker.send_signal(number)
        eventually(lambda: '"stop_asked"' in processes.log())
        assert worker.poll() is None
    # A stage that ignores the stop would keep it for as long as the grace lasts.
    eventually(lambda: interrupt(worker))
    assert worker.returncode == 1
    eventually(lambda: not is_running(child))


def test_two_workers_share_the_work_however_often_it_rings(
    desk: Desk, processes: Processes, gate: Path, settings: Settings
) -> None:
    processes.scheduler()
    processes.worker()
    processes.worker()
    eventually(lambda: len(workers(desk)) == 2)
    stage_ids = [queue_with_doorbell(desk, gate=gate) for _ in range(2)]
    app = make_celery(settings.broker_url.get_secret_value())
    for stage_id in stage_ids * 5:
        ring(app, stage_id, "any")
    for stage_id in stage_ids:
        desk.until_counted(stage_id)
    with desk.sessions() as session:
        assert len(set(session.scalars(select(Stage.owner)))) == 2
    gate.touch()
    for stage_id in stage_ids:
        desk.until(stage_id, StageState.succeeded)
    with desk.sessions() as session:
        assert session.scalars(select(Attempt.attempt_no)).all() == [1, 1]
        assert len(session.scalars(select(LogLine)).all()) == 2


def draw_images(folder: Path) -> None:
    for number in range(4):
        Image.new("RGB", (40, 40), (60 * number, 90, 200)).save(folder / f"{number}.png")


def test_a_dataset_is_registered_by_real_processes(
    desk: Desk, processes: Processes, settings: Settings, dataset_root: Path
) -> None:
    draw_images(dataset_root)
    processes.scheduler()
    processes.real_worker()
    source = {"kind": "folder", "root": "data"}
    request = DatasetCreate.model_validate({"name": "drawn", "source": source, "config": {"side": 32, "processes": 1}})
    with desk.sessions.begin() as session:
        dataset_id = datasets.register(session, settings, request).id

    def state() -> str:
        with desk.sessions() as session:
            return session.get_one(Dataset, dataset_id).state

    eventually(lambda: state() != DatasetState.registering)
    assert state() == DatasetState.ready
    with desk.sessions() as session:
        [stage] = session.scalars(select(Stage))
    assert desk.outputs(stage.id)[0].summary["count"] == 4
    assert "auto" not in str(stage.config)


def test_no_room_of_the_control_plane_imports_torch() -> None:
    code = "import sys, worker.main, worker.scheduler, worker.child; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
