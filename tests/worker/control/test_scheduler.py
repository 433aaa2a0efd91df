"""The scheduler's duties on real Postgres and a real broker."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from celery import Celery
from sqlalchemy import func, select, update

from app.embedded.servers import Servers
from app.outbox.tables import Doorbell
from app.runs.tables import Stage, StageState
from app.settings import Settings
from app.workers.tables import Worker
from tests.worker.control.conftest import Desk, Outage, eventually
from worker import leases
from worker.celery_app import BROKER_GONE, make_celery, queue_name
from worker.database import MOMENT
from worker.scheduler import Scheduler, ring_again, send_doorbells


@pytest.fixture
def app(settings: Settings) -> Celery:
    return make_celery(settings.broker_url.get_secret_value())


@pytest.fixture
def broker(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.broker_url.get_secret_value()) as client:
        yield client


def rings(broker: redis.Redis, device: str = "any") -> int:
    return int(broker.llen(queue_name(device)))  # type: ignore[arg-type]


def add_doorbell(desk: Desk, stage_id: uuid.UUID, queue: str = "any") -> None:
    with desk.sessions.begin() as session:
        session.add(Doorbell(stage_id=stage_id, queue=queue))


def add_worker(desk: Desk, name: str = "idle", device: str = "cpu") -> None:
    with desk.sessions.begin() as session:
        session.add(Worker(name=name, host="here", device=device, seen_at=func.now()))


def let_wait(desk: Desk, stage_id: uuid.UUID) -> None:
    with desk.sessions.begin() as session:
        session.execute(update(Stage).where(Stage.id == stage_id).values(queued_at=MOMENT - timedelta(hours=1)))


def test_the_outbox_is_sent_once_to_the_queue_of_its_device(desk: Desk, app: Celery, broker: redis.Redis) -> None:
    stage_id = desk.queue(device="cuda")
    add_doorbell(desk, stage_id, "cuda")
    for _ in range(2):
        send_doorbells(desk.sessions, app)
    assert (rings(broker, "cuda"), rings(broker, "any"), rings(broker, "cpu")) == (1, 0, 0)
    assert desk.stage(stage_id).rung_at is not None


def test_several_senders_never_send_a_doorbell_twice(desk: Desk, app: Celery, broker: redis.Redis) -> None:
    for _ in range(30):
        add_doorbell(desk, desk.queue())
    with ThreadPoolExecutor(4) as senders:
        list(senders.map(lambda _: send_doorbells(desk.sessions, app), range(8)))
    assert rings(broker) == 30


def test_a_doorbell_waits_while_the_broker_is_away(desk: Desk, settings: Settings) -> None:
    add_doorbell(desk, desk.queue())
    away = make_celery("redis://127.0.0.1:1/0")
    with pytest.raises(BROKER_GONE):
        send_doorbells(desk.sessions, away)
    with desk.sessions() as session:
        assert session.scalars(select(Doorbell.sent_at)).all() == [None]


def test_a_lost_doorbell_is_rung_again(desk: Desk, app: Celery, broker: redis.Redis, settings: Settings) -> None:
    stage_id = desk.queue()
    add_worker(desk)
    ring_again(desk.sessions, app, settings)
    assert rings(broker) == 0
    let_wait(desk, stage_id)
    for _ in range(2):
        ring_again(desk.sessions, app, settings)
    assert rings(broker) == 1


@pytest.mark.parametrize(("device", "rung"), [("any", True), ("cpu", True), ("cuda", False)])
def test_only_a_worker_that_fits_is_rung(
    desk: Desk, app: Celery, broker: redis.Redis, settings: Settings, device: str, rung: bool
) -> None:
    add_worker(desk, device="cpu")
    let_wait(desk, desk.queue(device=device))
    ring_again(desk.sessions, app, settings)
    assert rings(broker, device) == rung


def test_busy_workers_are_not_rung(desk: Desk, app: Celery, broker: redis.Redis, settings: Settings) -> None:
    add_worker(desk, "busy")
    with desk.sessions.begin() as session:
        assert leases.claim(session, desk.queue(), "busy", "cpu", 60)
    let_wait(desk, desk.queue())
    ring_again(desk.sessions, app, settings)
    assert rings(broker) == 0


def test_a_retry_is_rung_when_its_pause_is_over(
    desk: Desk, app: Celery, broker: redis.Redis, settings: Settings
) -> None:
    stage_id = desk.queue()
    add_worker(desk)
    with desk.sessions.begin() as session:
        session.execute(update(Stage).values(not_before=MOMENT + timedelta(hours=1)))
    ring_again(desk.sessions, app, settings)
    assert rings(broker) == 0
    with desk.sessions.begin() as session:
        session.execute(update(Stage).values(not_before=MOMENT))
    ring_again(desk.sessions, app, settings)
    assert rings(broker) == 1
    assert desk.stage(stage_id).rung_at is not None


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def swift(settings: Settings) -> Settings:
    """No heartbeats to wait for in these tests, and no graces."""
    return settings.model_copy(update={"lease_seconds": 0.2, "cancel_grace_seconds": 0.1, "sweep_seconds": 0.05})


def test_the_dead_are_noticed(
    desk: Desk, swift: Settings, background: ThreadPoolExecutor, stop: threading.Event
) -> None:
    stage_id = desk.queue()
    with desk.sessions.begin() as session:
        leases.claim(session, stage_id, "dead", "cpu", 0)
    background.submit(Scheduler(swift, stop).run)
    assert desk.until(stage_id, StageState.queued).failure_count == 1
    stop.set()


def test_a_cancel_that_nobody_obeys_is_forced(
    desk: Desk, swift: Settings, background: ThreadPoolExecutor, stop: threading.Event
) -> None:
    stage_id = desk.queue()
    with desk.sessions.begin() as session:
        leases.claim(session, stage_id, "deaf", "cpu", 3600)
    desk.cancel(stage_id)
    background.submit(Scheduler(swift, stop).run)
    assert desk.until(stage_id, StageState.cancelled).reason == "cancel_timed_out"
    assert desk.run(stage_id).state == "cancelled"
    stop.set()


def test_one_leads_and_the_next_takes_over(
    desk: Desk,
    settings: Settings,
    broker: redis.Redis,
    background: ThreadPoolExecutor,
    capfd: pytest.CaptureFixture[str],
    stop: threading.Event,
) -> None:
    first_stop = threading.Event()
    first = background.submit(Scheduler(settings, first_stop).run)
    add_doorbell(desk, desk.queue())
    eventually(lambda: rings(broker) == 1)
    background.submit(Scheduler(settings, stop).run)
    first_stop.set()
    first.result()
    add_doorbell(desk, desk.queue())
    eventually(lambda: rings(broker) == 2)
    stop.set()
    assert capfd.readouterr().out.count("leading") == 2


def test_postgres_and_broker_may_restart(
    desk: Desk,
    settings: Settings,
    servers: Servers,
    broker: redis.Redis,
    background: ThreadPoolExecutor,
    outage: Outage,
    capfd: pytest.CaptureFixture[str],
    stop: threading.Event,
) -> None:
    background.submit(Scheduler(settings, stop).run)
    add_doorbell(desk, desk.queue())
    eventually(lambda: rings(broker) == 1)
    with outage:
        broker.flushdb()
        broker.client_kill_filter(_type="normal", skipme=True)
        eventually(lambda: "postgres_gone" in capfd.readouterr().out)
    add_doorbell(desk, desk.queue())
    eventually(lambda: rings(broker) == 1)
    stop.set()
