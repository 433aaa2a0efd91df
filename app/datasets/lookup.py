"""Datasets by id or name."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.datasets.tables import Dataset, Layout
from app.names import as_id
from app.problems import FieldError, Problem, not_found
from app.runs.tables import Run, RunKind


def get_dataset(session: Session, ref: str) -> Dataset:
    """The dataset; 404 where there is none."""
    key = as_id(ref)
    match = Dataset.name == ref if key is None else Dataset.id == key
    dataset = session.scalars(select(Dataset).where(match, Dataset.deleted_at.is_(None))).one_or_none()
    if dataset is None:
        raise not_found("dataset", ref)
    return dataset


def hold_dataset(session: Session, ref: str) -> Dataset:
    """The dataset; its registration can't end, nor can it be deleted, before this transaction does.

    Its run is locked before it, in the order in which a registration's end takes them.
    """
    dataset = get_dataset(session, ref)
    registration = select(Run.id).where(Run.dataset_id == dataset.id, Run.kind == RunKind.ingest)
    session.execute(registration.with_for_update(read=True))
    session.refresh(dataset, with_for_update={"read": True})
    if dataset.deleted_at is not None:
        raise not_found("dataset", ref)
    return dataset


def check_holds_images(dataset: Dataset) -> None:
    """422 `wrong_dataset_kind` for annotated photographs: they serve to judge checkpoints, not to make them."""
    if dataset.layout == Layout.voc:
        message = f"This needs a dataset of images; {dataset.name!r} is in PASCAL VOC's layout, to evaluate on."
        raise Problem(422, "wrong_dataset_kind", message, [FieldError(path="dataset", message=message)])
