"""Celery as a doorbell: it says "look at this stage", and Postgres decides whether there is anything to do.

A message may be lost, doubled or late. Nothing is ever redelivered: recovery belongs to the lease and the scheduler.
"""

import uuid

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

RING = "passdown.ring"
BROKER_GONE = (OperationalError, RedisError, OSError)
"""What an unreachable broker raises, depending on how far the connection had come."""


def make_celery(broker_url: str) -> Celery:
    """An app without a result backend: a second truth about a stage would only be a wrong one."""
    app = Celery("passdown", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=queue_name("any"),
        # The message is gone before the work begins; a day of training never waits in an unacked set.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        # One doorbell at a time: what a busy worker holds back, an idle one could do.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 15,
            # Who sends has better to do than to wait: the outbox remembers.
            "max_retries": 1,
            "interval_start": 0,
        },
    )
    return app


def queue_name(device: str) -> str:
    """The queue of the stages that want this kind of device: `any`, `cpu` or `cuda`."""
    return f"passdown.{device}"


def worker_queues(device: str) -> list[str]:
    """What a worker with this device (`cpu`, `cuda`, `cuda:N`) listens on."""
    return [queue_name("any"), queue_name(device.partition(":")[0])]


def ring(app: Celery, stage_id: uuid.UUID, device: str) -> None:
    """Send a doorbell; raises one of `BROKER_GONE` at once when the broker is away."""
    app.send_task(RING, args=[str(stage_id)], queue=queue_name(device), retry=False, ignore_result=True)
