import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Id, Moment


class DatasetState(StrEnum):
    registering = "registering"
    ready = "ready"
    failed = "failed"


class Layout(StrEnum):
    images = "images"
    """A folder or archive of images, which become an image store."""
    voc = "voc"
    """Photographs with boxes and masks as PASCAL VOC has them, which become an annotated store."""


class Dataset(Base):
    """Registered images. `source` is `{"kind": "folder", "root", "path"}` or `{"kind": "upload", "upload"}`."""

    __tablename__ = "dataset"
    # A deleted dataset's name may be used again.
    __table_args__ = (Index("uq_dataset_name_live", "name", unique=True, postgresql_where=text("deleted_at IS NULL")),)

    id: Mapped[Id]
    name: Mapped[str]
    source: Mapped[dict[str, Any]]
    layout: Mapped[str] = mapped_column(default=Layout.images, server_default=Layout.images)
    config: Mapped[dict[str, Any]]
    """The IngestConfig, or the IngestVocConfig."""
    state: Mapped[str] = mapped_column(default=DatasetState.registering)
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    store_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("artifact.id", use_alter=True))
    """The image store or the annotated store, once the dataset is ready."""
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Moment | None]
