"""Pages of artifacts of one kind."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact
from app.pagination import newest_first
from worker.config.pipeline import ArtifactKind


def list_artifacts(
    session: Session, kind: ArtifactKind | None, limit: int, cursor: str | None
) -> tuple[list[Artifact], str | None]:
    query = select(Artifact).where(Artifact.deleted_at.is_(None))
    if kind is not None:
        query = query.where(Artifact.kind == kind)
    artifacts, next_cursor = newest_first(session, query, Artifact, limit, cursor)
    return list(artifacts), next_cursor
