"""Datasets by id or name."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.datasets.tables import Dataset
from app.names import as_id
from app.problems import not_found


def get_dataset(session: Session, ref: str, *, lock: bool = False) -> Dataset:
    """The dataset; 404 where there is none. `lock`: its state and its deletion wait until this transaction ends."""
    key = as_id(ref)
    match = Dataset.name == ref if key is None else Dataset.id == key
    query = select(Dataset).where(match, Dataset.deleted_at.is_(None))
    if lock:
        query = query.with_for_update(read=True).execution_options(populate_existing=True)
    dataset = session.scalars(query).one_or_none()
    if dataset is None:
        raise not_found("dataset", ref)
    return dataset
