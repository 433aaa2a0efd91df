"""Artifacts by id or name."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact
from app.names import as_id
from app.problems import not_found
from worker.config.pipeline import ArtifactKind


def find_artifact(session: Session, ref: str) -> Artifact | None:
    key = as_id(ref)
    match = Artifact.name == ref if key is None else Artifact.id == key
    return session.scalars(select(Artifact).where(match, Artifact.deleted_at.is_(None))).one_or_none()


def get_artifact(session: Session, ref: str, kind: ArtifactKind | None = None) -> Artifact:
    """The artifact, of that kind; 404 where there is none."""
    artifact = find_artifact(session, ref)
    if artifact is None or (kind is not None and artifact.kind != kind):
        raise not_found(kind.replace("_", " ") if kind else "artifact", ref)
    return artifact
