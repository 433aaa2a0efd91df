import uuid
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts import downloads
from app.artifacts.label_files import LabelFiles, Member
from app.artifacts.lists import list_artifacts
from app.artifacts.lookup import get_artifact
from app.artifacts.schemas import ArtifactOut, ClusteringOut, ClusterOut, MemberOut
from app.artifacts.tables import Artifact, StageInput
from app.dependencies import CurrentStorage, Db
from app.pagination import Cursor, Limit, Page
from app.problems import Problem
from worker.config.pipeline import ArtifactKind

router = APIRouter(prefix="/clusterings", tags=["clusterings"])


@router.get("")
def list_clusterings(session: Db, limit: Limit = 50, cursor: Cursor = None) -> Page[ClusteringOut]:
    clusterings, next_cursor = list_artifacts(session, ArtifactKind.centroids, limit, cursor)
    return Page(items=[_clustering_out(session, one) for one in clusterings], next_cursor=next_cursor)


@router.get("/{clustering}")
def read_clustering(clustering: str, session: Db) -> ClusteringOut:
    return _clustering_out(session, get_artifact(session, clustering, ArtifactKind.centroids))


@router.head("/{clustering}/centroids", include_in_schema=False)
@router.get("/{clustering}/centroids", response_class=Response)
def download_centroids(clustering: str, request: Request, session: Db, storage: CurrentStorage) -> Response:
    """`centroids.npy`: float32, k x dim."""
    found = get_artifact(session, clustering, ArtifactKind.centroids)
    return downloads.send(request, storage, found, "centroids.npy")


@router.get("/{clustering}/clusters/{cluster}")
def read_cluster(
    clustering: str,
    cluster: int,
    session: Db,
    storage: CurrentStorage,
    label_set: Annotated[str | None, Query(description="which labelled dataset; default: the newest")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 12,
) -> ClusterOut:
    """Which images are in it: the nearest to its centre and the farthest."""
    found = get_artifact(session, clustering, ArtifactKind.centroids)
    k = found.summary["k"]
    if not 0 <= cluster < k:
        raise Problem(404, "cluster_not_found", f"The clustering has {k} clusters, counted from 0.")
    labels = _label_set(session, found, label_set)
    members = LabelFiles(storage.artifact(labels.sha256)).members(cluster, limit)
    store = _store(session, labels)
    return ClusterOut(
        cluster=cluster,
        label_set=labels.id,
        size=members.size,
        nearest=[_member_out(store, member) for member in members.nearest],
        farthest=[_member_out(store, member) for member in members.farthest],
    )


def _clustering_out(session: Session, clustering: Artifact) -> ClusteringOut:
    facts = ArtifactOut.model_validate(clustering).model_dump()
    return ClusteringOut(**facts, label_sets=[labels.id for labels in _label_sets(session, clustering)])


def _label_sets(session: Session, clustering: Artifact) -> Sequence[Artifact]:
    return session.scalars(
        select(Artifact)
        .join(StageInput, StageInput.stage_id == Artifact.stage_id)
        .where(Artifact.kind == ArtifactKind.pseudo_label_set, Artifact.deleted_at.is_(None))
        .where(StageInput.role == "centroids", StageInput.artifact_id == clustering.id)
        .order_by(Artifact.created_at.desc(), Artifact.id)
    ).all()


def _label_set(session: Session, clustering: Artifact, ref: str | None) -> Artifact:
    made = _label_sets(session, clustering)
    if ref is None:
        if not made:
            raise Problem(404, "label_set_not_found", "No images have been labelled with this clustering yet.")
        return made[0]
    chosen = get_artifact(session, ref, ArtifactKind.pseudo_label_set)
    if chosen.id not in {labels.id for labels in made}:
        raise Problem(422, "wrong_label_set", "This pseudo-label set was made with another clustering.")
    return chosen


def _store(session: Session, labels: Artifact) -> uuid.UUID | None:
    """The image store that was labelled, unless its dataset was deleted."""
    return session.scalar(
        select(Artifact.id)
        .join(StageInput, StageInput.artifact_id == Artifact.id)
        .where(StageInput.stage_id == labels.stage_id, StageInput.role == "store", Artifact.deleted_at.is_(None))
    )


def _member_out(store: uuid.UUID | None, member: Member) -> MemberOut:
    image = None if store is None else f"/artifacts/{store}/images/{member.index}"
    return MemberOut(index=member.index, path=member.path, distance=member.distance, image=image)
