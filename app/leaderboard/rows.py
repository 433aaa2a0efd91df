"""This service's own rows: from finished evaluations, and from nothing else."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact
from app.evaluations.lookup import evaluations, judged_checkpoints, judged_datasets, sheet_of
from app.leaderboard.ancestry import Ancestry, ancestry
from app.leaderboard.differences import differences, training_facts
from app.leaderboard.naming import is_untrained, method_of
from app.leaderboard.paper import COLUMNS, HEADINGS, SETTINGS, TITLES, QuotedRow, quoted_rows
from app.leaderboard.schemas import Leaderboard, MeasuredCell, MeasuredRow, QuotedCellOut, QuotedRowOut
from app.runs.tables import Run
from worker.config.scores import Cell, ScoreSheet, Table

LINEAR: frozenset[Table] = frozenset({4, 5})
"""One protocol; the datasets tell which."""


@dataclass(frozen=True)
class Judgement:
    """A finished evaluation, and what it judged."""

    evaluation: Artifact
    sheet: ScoreSheet
    checkpoint: uuid.UUID
    dataset: str
    """Of the judged images: its name, or the beginning of its digest once it is deleted."""

    @property
    def work(self) -> str:
        """Equal for the same checkpoint, images, protocol and config: then the newest stands for all."""
        return json.dumps(
            [str(self.checkpoint), self.sheet.dataset, self.sheet.protocol, self.sheet.config], sort_keys=True
        )


@dataclass(frozen=True)
class Group:
    """The newest judgement of its work, and how many there are."""

    newest: Judgement
    count: int


def leaderboard(session: Session, table: Table) -> Leaderboard:
    """The paper's rows in its order, then ours, the oldest checkpoint first."""
    measured = measured_rows(session, table)
    # A library's network is measured at modules of its own.
    columns = dict.fromkeys([*COLUMNS[table], *(column for row in measured for column in row.cells)])
    return Leaderboard(
        table=table,
        title=TITLES[table],
        setting=SETTINGS[table],
        columns=list(columns),
        headings={column: HEADINGS.get(column, column) for column in columns},
        quoted=[_quoted_out(row) for row in quoted_rows(table)],
        measured=measured,
    )


def measured_rows(session: Session, table: Table) -> list[MeasuredRow]:
    found = judgements(session)
    lines = ancestry(session, {judgement.checkpoint for judgement in found})
    here = [judgement for judgement in found if _belongs(judgement, lines, table)]
    rows = _laid_out(_grouped(here), table)
    names = _run_names(session, lines, rows)
    out = [_row_out(row, table, lines, names) for row in rows]
    return sorted(out, key=lambda row: lines[row.checkpoint].artifact.created_at)


def judgements(session: Session) -> list[Judgement]:
    """All evaluations by one protocol, the newest first."""
    newest_first = evaluations().order_by(Artifact.created_at.desc(), Artifact.id.desc())
    made = [(evaluation.stage_id, evaluation) for evaluation in session.scalars(newest_first)]
    stages = [stage_id for stage_id, _ in made if stage_id is not None]
    checkpoints, datasets = judged_checkpoints(session, stages), judged_datasets(session, stages)
    return [
        _judgement(evaluation, checkpoints[stage_id], datasets[stage_id].name if stage_id in datasets else None)
        for stage_id, evaluation in made
        if stage_id is not None
    ]


def _judgement(evaluation: Artifact, checkpoint: uuid.UUID, dataset: str | None) -> Judgement:
    sheet = sheet_of(evaluation)
    return Judgement(evaluation, sheet, checkpoint, dataset or f"{sheet.dataset[:12]} (deleted)")


def _belongs(judgement: Judgement, lines: Ancestry, table: Table) -> bool:
    """An untrained network learnt from no dataset, so it is the baseline of both linear tables, as in the paper."""
    sheet = judgement.sheet
    if sheet.table not in LINEAR or table not in LINEAR:
        return sheet.table == table
    if is_untrained(judgement.checkpoint, lines):
        return True
    # What imported weights learnt from is not known: another dataset, as far as anybody can show.
    training = training_facts(sheet, lines[judgement.checkpoint].artifact.summary)
    return table == (4 if _learnt_from_what_judges(sheet, training) else 5)


def _learnt_from_what_judges(sheet: ScoreSheet, training: Mapping[str, Any]) -> bool:
    """Whether the network learnt from the photographs that judge it, at any side and with any labels.

    Exactly those: a dataset that shares only some of them is another one. What was stored before photographs had a
    digest of their own is told by the dataset's.
    """
    if sheet.dataset == training.get("dataset"):
        return True
    return sheet.photographs is not None and sheet.photographs == training.get("photographs")


def _grouped(found: Sequence[Judgement]) -> list[Group]:
    """One group for each piece of work, the newest first."""
    by_work: dict[str, list[Judgement]] = {}
    for judgement in found:
        by_work.setdefault(judgement.work, []).append(judgement)
    return [Group(same[0], len(same)) for same in by_work.values()]


def _laid_out(groups: Sequence[Group], table: Table) -> list[list[Group]]:
    """Groups that share a row: one checkpoint, and no column filled twice. VOC's columns have images of their own."""
    rows: list[list[Group]] = []
    for group in groups:
        row = next((row for row in rows if _joins(group, row, table)), None)
        if row is None:
            rows.append([group])
        else:
            row.append(group)
    return rows


def _joins(group: Group, row: Sequence[Group], table: Table) -> bool:
    new = group.newest
    return all(
        new.checkpoint == there.newest.checkpoint
        and (table == 3 or new.sheet.dataset == there.newest.sheet.dataset)
        and not set(new.sheet.cells) & set(there.newest.sheet.cells)
        for there in row
    )


def _row_out(row: Sequence[Group], table: Table, lines: Ancestry, names: Mapping[uuid.UUID, str | None]) -> MeasuredRow:
    checkpoint = row[0].newest.checkpoint
    made = lines[checkpoint]
    cells = {column: _cell(group, cell) for group in row for column, cell in group.newest.sheet.cells.items()}
    return MeasuredRow(
        method=method_of(checkpoint, lines),
        name=made.artifact.name or (names.get(made.run) if made.run else None),
        checkpoint=checkpoint,
        link=f"/checkpoints/{checkpoint}",
        dataset=", ".join(dict.fromkeys(group.newest.dataset for group in row)),
        cells={column: cells[column] for column in dict.fromkeys([*COLUMNS[table], *cells]) if column in cells},
        differences=_told(row, made.artifact),
    )


def _told(row: Sequence[Group], checkpoint: Artifact) -> list[str]:
    """Every sentence once."""
    told: dict[str, None] = {}
    for group in row:
        sheet = group.newest.sheet
        told |= dict.fromkeys(differences(sheet, training_facts(sheet, checkpoint.summary), group.newest.dataset))
    return list(told)


def _cell(group: Group, cell: Cell) -> MeasuredCell:
    evaluation, sheet = group.newest.evaluation, group.newest.sheet
    return MeasuredCell(
        evaluation=evaluation.id,
        link=f"/evaluations/{evaluation.id}",
        protocol=sheet.protocol,
        metric=sheet.metric,
        **cell.model_dump(include={"value", "low", "high", "interval", "n"}),
        confidence=sheet.confidence,
        seeds=len(cell.per_seed) or 1,
        evaluations=group.count,
        measured_at=evaluation.created_at,
    )


def _run_names(session: Session, lines: Ancestry, rows: Sequence[Sequence[Group]]) -> dict[uuid.UUID, str | None]:
    runs = {lines[row[0].newest.checkpoint].run for row in rows} - {None}
    return {run: name for run, name in session.execute(select(Run.id, Run.name).where(Run.id.in_(runs)))}


def _quoted_out(row: QuotedRow) -> QuotedRowOut:
    cells = {
        column: QuotedCellOut(text=cell.text, value=cell.value, bold=cell.bold, doubt=cell.doubt)
        for column, cell in row.cells.items()
    }
    return QuotedRowOut(method=row.method, ref=row.ref, cells=cells)
