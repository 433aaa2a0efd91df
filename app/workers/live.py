"""Which workers are there."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.settings import Settings
from app.workers.tables import Worker


def live_workers(session: Session, settings: Settings) -> Sequence[Worker]:
    """Those that were seen within a lease's time."""
    oldest = func.now() - timedelta(seconds=settings.lease_seconds)
    return session.scalars(select(Worker).where(Worker.seen_at > oldest).order_by(Worker.name)).all()
