import uuid
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Moment


class Event(Base):
    """What happened to a run, in order; `seq` counts from 1 without gaps."""

    __tablename__ = "event"

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("run.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    """`run.<state>`, `stage.<state>`, `stage.reused`, `stage.retried`, `stage.drained`, `artifact.created`."""
    data: Mapped[dict[str, Any]]
    at: Mapped[CreatedAt]


class Metric(Base):
    """A point of a curve. A resumed attempt may write a step again; the newest attempt's value counts."""

    __tablename__ = "metric"

    stage_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("stage.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    attempt_no: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
    at: Mapped[Moment]


class LogLine(Base):
    __tablename__ = "log_line"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("run.id"), index=True)
    stage: Mapped[str]
    attempt_no: Mapped[int]
    at: Mapped[CreatedAt]
    level: Mapped[str]
    message: Mapped[str]
