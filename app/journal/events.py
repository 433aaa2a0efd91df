"""The journal of a run: what happened, in order."""

import uuid
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.journal.tables import Event
from app.runs.tables import Run


def append_event(session: Session, run_id: uuid.UUID, type: str, data: dict[str, Any]) -> Event:
    """Add the run's next event.

    The number is taken under the run row's lock, held until commit: a reader who saw event n has seen all before it.
    """
    seq = session.scalars(
        update(Run).where(Run.id == run_id).values(event_seq=Run.event_seq + 1).returning(Run.event_seq),
        execution_options={"synchronize_session": False},
    ).one()
    event = Event(run_id=run_id, seq=seq, type=type, data=data)
    session.add(event)
    return event
