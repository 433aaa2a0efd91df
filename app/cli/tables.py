"""Lists as people read them."""

from collections.abc import Iterable
from itertools import islice

from rich.table import Column, Table

from app.client.models import Checkpoint, Dataset, Run


def runs_table(runs: Iterable[Run], limit: int) -> Table:
    table = Table(Column("run", no_wrap=True), "name", "state", "reason", Column("created", no_wrap=True), box=None)
    for run in islice(runs, limit):
        created = str((run.model_extra or {}).get("created_at", ""))[:16].replace("T", " ")
        table.add_row(run.id, run.name or "", run.state, run.reason or "", created)
    return table


def datasets_table(datasets: Iterable[Dataset], limit: int) -> Table:
    table = Table(Column("dataset", no_wrap=True), "name", "state", "reason", box=None)
    for dataset in islice(datasets, limit):
        table.add_row(dataset.id, dataset.name, dataset.state, dataset.reason or "")
    return table


def checkpoints_table(checkpoints: Iterable[Checkpoint], limit: int) -> Table:
    made_at = Column("made", no_wrap=True)
    table = Table(Column("checkpoint", no_wrap=True), "name or run", "role", "task", made_at, box=None)
    for checkpoint in islice(checkpoints, limit):
        made = checkpoint.created_at[:16].replace("T", " ")
        task = str(checkpoint.summary.get("task", ""))
        called = checkpoint.name or checkpoint.run_name or (checkpoint.run or "")[:8]
        table.add_row(checkpoint.id, called, checkpoint.role or "", task, made)
    return table
