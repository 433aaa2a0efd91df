"""The worker of one device: `python -m worker.main --device cpu|cuda|cuda:N|auto`.

SIGTERM or Ctrl-C drains: the running stage saves its state and goes back to the queue. A second Ctrl-C ends the worker
at once; the child follows, because its stdin closes, and the lease runs out. SIGTERM may come any number of times:
service managers repeat it, and have SIGKILL for what it doesn't end.
"""

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence

import structlog
from celery import Celery
from celery.apps.worker import Worker as CeleryWorker
from celery.signals import worker_ready, worker_shutting_down
from celery.worker import state

from app.settings import Settings, get_settings
from worker.celery_app import make_celery, worker_queues
from worker.child_process import CHILD_COMMAND
from worker.database import make_sessions
from worker.device import NoDevice, find_device
from worker.logs import configure_logging
from worker.patience import wait_for_broker, wait_for_database
from worker.registration import Registration, new_name
from worker.supervisor import Supervisor
from worker.tasks import add_tasks

EXIT_HARD = 1

log = structlog.get_logger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=_device, default="auto", help="cpu, cuda, cuda:N or auto")
    configure_logging()
    try:
        device = find_device(parser.parse_args().device)
    except NoDevice as error:
        sys.exit(f"error: {error}")
    serve(get_settings(), device)


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError("cpu, cuda, cuda:N or auto")
    return text


def serve(settings: Settings, device: str, child_command: Sequence[str] = CHILD_COMMAND) -> None:
    """Listen for doorbells until a signal comes."""
    name = new_name()
    drain = threading.Event()
    app = make_celery(settings.broker_url.get_secret_value())
    add_tasks(app, Supervisor(settings, name, device, drain, child_command))
    sessions = make_sessions(settings, name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: drain.set())
    wait_for_database(sessions, drain)
    wait_for_broker(app, drain)
    if drain.is_set():
        return
    with Registration(sessions, name, device, settings.heartbeat_seconds):
        log.info("worker_started", name=name, device=device)
        _listen(app, name, device, drain)
    log.info("worker_ended", name=name)


def _listen(app: Celery, name: str, device: str, drain: threading.Event) -> None:
    def on_ready(**_: object) -> None:
        # A signal that came before Celery's handlers were there.
        if drain.is_set():
            state.should_stop = os.EX_OK  # type: ignore[assignment]

    def on_shutdown(sig: str, **_: object) -> None:
        drain.set()
        if sig == "SIGINT":
            signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_HARD))

    worker_ready.connect(on_ready)
    worker_shutting_down.connect(on_shutdown)
    worker: CeleryWorker = app.Worker(
        hostname=name,
        queues=worker_queues(device),
        pool="threads",
        concurrency=1,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()


if __name__ == "__main__":
    main()
