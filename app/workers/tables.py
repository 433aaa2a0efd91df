from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Moment


class Worker(Base):
    """A worker process that says it lives; one a device."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(primary_key=True)
    """`host:pid:random`, the `owner` of what it claims."""
    host: Mapped[str]
    device: Mapped[str]
    """`cpu`, `cuda:0`, ..."""
    device_name: Mapped[str | None]
    started_at: Mapped[CreatedAt]
    seen_at: Mapped[Moment]
