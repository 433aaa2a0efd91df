import uuid
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, Id, Moment


class Artifact(Base):
    """An immutable directory of files below `storage_root/artifacts`, named by its digest."""

    __tablename__ = "artifact"
    __table_args__ = (Index("ix_artifact_kind_created_at_id", "kind", "created_at", "id"),)

    id: Mapped[Id]
    name: Mapped[str | None] = mapped_column(unique=True)
    """Given by the user to imported weights and labels; works wherever the id does."""
    kind: Mapped[str]
    role: Mapped[str]
    sha256: Mapped[str]
    """Digest over the sorted `sha256  name` lines of its files. Two artifacts may share one directory."""
    bytes: Mapped[BigInt]
    files: Mapped[list[dict[str, Any]]]
    """`[{"name", "bytes", "sha256"}]`, sorted by name."""
    summary: Mapped[dict[str, Any]]
    stage_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("stage.id"))
    """The stage that made it; None for uploads."""
    attempt_no: Mapped[int | None]
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Moment | None]


class StageInput(Base):
    """Lineage: which artifact a stage read, in which role."""

    __tablename__ = "stage_input"

    stage_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("stage.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("artifact.id"), index=True)


class StageOutput(Base):
    """Which artifact a stage gave, in which role: made by it, or taken over from an equal stage."""

    __tablename__ = "stage_output"

    stage_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("stage.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("artifact.id"), index=True)
