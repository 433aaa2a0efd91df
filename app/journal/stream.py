"""The events of a run as they happen."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool

from app.journal.schemas import EventOut
from app.journal.tables import Event
from app.runs.tables import TERMINAL, Run

BATCH = 200
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class _Look:
    events: list[EventOut]
    last: bool
    """The run has ended and nothing follows."""


async def follow(sessions: sessionmaker[Session], run_id: uuid.UUID, after: int) -> AsyncIterator[EventOut]:
    """Every event after number `after`, until the run has ended. Holds no connection while it waits."""
    while True:
        look = await run_in_threadpool(_look, sessions, run_id, after)
        for event in look.events:
            yield event
            after = event.seq
        if look.last:
            return
        if len(look.events) < BATCH:
            await asyncio.sleep(POLL_SECONDS)


def _look(sessions: sessionmaker[Session], run_id: uuid.UUID, after: int) -> _Look:
    with sessions() as session:
        # The state first: a terminal state is committed together with the run's last event.
        ended = session.scalars(select(Run.state).where(Run.id == run_id)).one() in TERMINAL
        query = select(Event).where(Event.run_id == run_id, Event.seq > after).order_by(Event.seq).limit(BATCH)
        events = [EventOut.model_validate(event) for event in session.scalars(query)]
    return _Look(events=events, last=ended and len(events) < BATCH)
