import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, Id, Moment


class RunKind(StrEnum):
    pipeline = "pipeline"
    ingest = "ingest"
    import_weights = "import_weights"
    import_labels = "import_labels"
    evaluation = "evaluation"
    """One checkpoint, one protocol."""


class RunState(StrEnum):
    queued = "queued"
    running = "running"
    cancelling = "cancelling"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


class StageState(StrEnum):
    pending = "pending"
    """Waits for another stage; everything else as for runs."""
    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


class AttemptState(StrEnum):
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"
    drained = "drained"
    lost = "lost"


TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class Run(Base):
    """One request: a config, a dataset, its stages."""

    __tablename__ = "run"
    __table_args__ = (Index("ix_run_created_at_id", "created_at", "id"), Index("ix_run_state", "state"))

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(default=RunKind.pipeline)
    name: Mapped[str | None] = mapped_column(unique=True)
    dataset_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("dataset.id"), index=True)
    preset: Mapped[str | None]
    config: Mapped[dict[str, Any]]
    """The method, and the whole PipelineConfig as accepted; each stage's row holds its part, resolved once known."""
    inputs: Mapped[dict[str, Any]]
    """Role -> artifact id, as given with the request."""
    device: Mapped[str] = mapped_column(default="any")
    """`any`, `cpu` or `cuda`: which workers may claim the run's stages."""
    state: Mapped[str] = mapped_column(default=RunState.queued)
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    event_seq: Mapped[int] = mapped_column(default=0)
    """The newest event's number; raised under this row's lock, so that no reader can skip one."""
    cancel_requested_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]

    @property
    def method(self) -> str | None:
        """Of a pipeline run."""
        method: str | None = self.config.get("method")
        return method


class Stage(Base):
    """One job of a run. Whoever holds `attempt_no` while `state = running` may write to it, nobody else."""

    __tablename__ = "stage"
    __table_args__ = (
        UniqueConstraint("run_id", "name"),
        Index("ix_stage_key_succeeded", "key", postgresql_where=text("state = 'succeeded'")),
        Index("ix_stage_lease", "lease_expires_at", postgresql_where=text("state = 'running'")),
        Index("ix_stage_queued", "queued_at", postgresql_where=text("state = 'queued'")),
    )

    id: Mapped[Id]
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("run.id"), index=True)
    name: Mapped[str]
    position: Mapped[int]
    config: Mapped[dict[str, Any]]
    """As accepted; the dataset's autos are resolved when the stage becomes ready, the machine's while it runs."""
    key: Mapped[str | None]
    """sha256(name, code version, canonical config, input digests); equal keys, equal work."""
    state: Mapped[str] = mapped_column(default=StageState.pending)
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    attempt_no: Mapped[int] = mapped_column(default=0)
    """The fencing token: only ever rises."""
    failure_count: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=3)
    not_before: Mapped[Moment | None]
    owner: Mapped[str | None]
    lease_expires_at: Mapped[Moment | None]
    cancel_requested_at: Mapped[Moment | None]
    progress_done: Mapped[BigInt] = mapped_column(default=0)
    progress_total: Mapped[BigInt] = mapped_column(default=0)
    progress_unit: Mapped[str | None]
    progress_at: Mapped[Moment | None]
    """When the child last moved; the lease says only that its supervisor lives."""
    eta_seconds: Mapped[float | None]
    reused_stage_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("stage.id"))
    queued_at: Mapped[Moment | None]
    rung_at: Mapped[Moment | None]
    """When a doorbell was last sent; the scheduler rings again for what stays queued."""
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]


class StageDependency(Base):
    """`stage` starts after `needs` succeeded; `needs` may belong to another run (a dataset's registration)."""

    __tablename__ = "stage_dependency"

    stage_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("stage.id"), primary_key=True)
    needs_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("stage.id"), primary_key=True, index=True)


class Attempt(Base):
    """One execution of a stage."""

    __tablename__ = "attempt"

    stage_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("stage.id"), primary_key=True)
    attempt_no: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(default=AttemptState.running)
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    owner: Mapped[str]
    device: Mapped[str]
    exit_code: Mapped[int | None]
    started_at: Mapped[CreatedAt]
    finished_at: Mapped[Moment | None]
