"""The one Celery task."""

import uuid

from celery import Celery

from worker.celery_app import RING
from worker.supervisor import Supervisor


def add_tasks(app: Celery, supervisor: Supervisor) -> None:
    @app.task(name=RING)
    def ring(stage_id: str) -> None:
        supervisor.ring(uuid.UUID(stage_id))
