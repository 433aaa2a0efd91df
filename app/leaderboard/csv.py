"""The leaderboard as CSV: a line a row, numbers in percent, several fields for each column that was measured."""

import csv
from io import StringIO

from app.leaderboard.schemas import Leaderboard, MeasuredCell, MeasuredRow, QuotedRowOut

FACTS = ("source", "method", "ref", "name", "checkpoint", "dataset")
PARTS = ("low", "high", "confidence", "interval", "n", "seeds", "evaluations", "evaluation")
"""Of a column, after its value."""


def leaderboard_csv(board: Leaderboard, base_url: str) -> str:
    """`source` is `paper` or `measured`; the paper's cells are as printed, so `-` is a number that it doesn't give."""
    text = StringIO()
    columns = [name for column in board.columns for name in (column, *(f"{column}_{part}" for part in PARTS))]
    writer = csv.DictWriter(text, [*FACTS, *columns, "notes"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_quoted(row) for row in board.quoted)
    writer.writerows(_measured(row, base_url) for row in board.measured)
    return text.getvalue()


def _quoted(row: QuotedRowOut) -> dict[str, str]:
    doubts = [f"{column}: {cell.doubt}" for column, cell in row.cells.items() if cell.doubt]
    cells = {column: cell.text for column, cell in row.cells.items()}
    return {"source": "paper", "method": row.method, "ref": row.ref, **cells, "notes": " ".join(doubts)}


def _measured(row: MeasuredRow, base_url: str) -> dict[str, str]:
    facts = {
        "source": "measured",
        "method": row.method,
        "name": row.name or "",
        "checkpoint": f"{base_url}checkpoints/{row.checkpoint}",
        "dataset": row.dataset or "",
        "notes": " ".join(row.differences),
    }
    for column, cell in row.cells.items():
        facts |= _cell(column, cell, base_url)
    return facts


def _cell(column: str, cell: MeasuredCell, base_url: str) -> dict[str, str]:
    return {
        column: f"{100 * cell.value:.2f}",
        f"{column}_low": f"{100 * cell.low:.2f}",
        f"{column}_high": f"{100 * cell.high:.2f}",
        f"{column}_confidence": f"{cell.confidence:g}",
        f"{column}_interval": cell.interval,
        f"{column}_n": str(cell.n),
        f"{column}_seeds": str(cell.seeds),
        f"{column}_evaluations": str(cell.evaluations),
        f"{column}_evaluation": f"{base_url}evaluations/{cell.evaluation}",
    }
