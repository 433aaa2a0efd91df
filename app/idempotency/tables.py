from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt


class IdempotencyKey(Base):
    """A request that was accepted under an `Idempotency-Key`, and what was answered."""

    __tablename__ = "idempotency_key"

    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    """Over method, path and body."""
    status: Mapped[int]
    response: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]
