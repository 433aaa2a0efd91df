import uuid

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Moment


class Doorbell(Base):
    """A message to send once its transaction is committed: "stage so-and-so is ready". Sending it twice is harmless."""

    __tablename__ = "doorbell"
    __table_args__ = (Index("ix_doorbell_unsent", "id", postgresql_where=text("sent_at IS NULL")),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    stage_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("stage.id"))
    queue: Mapped[str]
    """`any`, `cpu` or `cuda`: the run's `device`."""
    created_at: Mapped[CreatedAt]
    sent_at: Mapped[Moment | None]
