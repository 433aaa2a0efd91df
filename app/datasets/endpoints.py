import json
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from app.artifacts.tables import Artifact
from app.datasets import service
from app.datasets.lookup import get_dataset
from app.datasets.schemas import DatasetCreate, DatasetOut, ProblemFile
from app.datasets.service import dataset_out
from app.datasets.tables import Dataset
from app.dependencies import CurrentSettings, CurrentStorage, Db
from app.idempotency.service import Once
from app.pagination import Cursor, Limit, Page, newest_first
from app.problems import Problem

router = APIRouter(prefix="/datasets", tags=["datasets"])


@router.post("", status_code=202)
def register_dataset(
    body: DatasetCreate, session: Db, settings: CurrentSettings, once: Once, response: Response
) -> DatasetOut:
    """Register a server folder or an uploaded archive; its images are decoded once, by a run of one stage."""
    dataset = once.answer(body, DatasetOut, lambda: dataset_out(session, service.register(session, settings, body)))
    response.headers["Location"] = f"/datasets/{dataset.id}"
    return dataset


@router.get("")
def list_datasets(session: Db, limit: Limit = 50, cursor: Cursor = None) -> Page[DatasetOut]:
    query = select(Dataset).where(Dataset.deleted_at.is_(None))
    datasets, next_cursor = newest_first(session, query, Dataset, limit, cursor)
    return Page(items=[dataset_out(session, dataset) for dataset in datasets], next_cursor=next_cursor)


@router.get("/{dataset}")
def read_dataset(dataset: str, session: Db) -> DatasetOut:
    return dataset_out(session, get_dataset(session, dataset))


@router.delete("/{dataset}", status_code=204)
def delete_dataset(dataset: str, session: Db) -> None:
    """Its name is free again; what was learned from it stays."""
    service.delete(session, get_dataset(session, dataset))


@router.get("/{dataset}/problems")
def list_problem_files(
    dataset: str,
    session: Db,
    storage: CurrentStorage,
    limit: Limit = 50,
    cursor: Annotated[int, Query(ge=0, description="how many have been read")] = 0,
) -> Page[ProblemFile]:
    """The files that were left out: undecodable, duplicates, too large."""
    found = get_dataset(session, dataset)
    store = session.get(Artifact, found.store_id) if found.store_id else None
    if store is None:
        raise Problem(409, "dataset_not_ready", f"The dataset is {found.state}.")
    with (storage.artifact(store.sha256) / "problems.jsonl").open(encoding="utf-8") as lines:
        items = [ProblemFile(**json.loads(line)) for line in islice(lines, cursor, cursor + limit + 1)]
    return Page(items=items[:limit], next_cursor=str(cursor + limit) if len(items) > limit else None)
