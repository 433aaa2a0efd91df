"""A table of labels: CSV or Parquet with the columns `path` and `label`."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.config.reasons import Reason
from worker.stages.contract import StageError

COLUMNS = ("path", "label")


@dataclass(frozen=True, slots=True)
class LabelRow:
    line: int
    """Of the CSV, where the header is line 1; of the Parquet file, the row from 1."""
    path: str
    label: str


def read_label_file(file: Path) -> list[LabelRow]:
    """All rows of a CSV or (suffix `.parquet`) Parquet file; more columns than `path` and `label` are ignored.

    Raises `StageError(bad_labels)` where the file is no such table, a path or label is empty, or a path comes twice.
    """
    rows = _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)
    first: dict[str, int] = {}
    for row in rows:
        if not row.path or not row.label:
            raise refused(file, row.line, f"the {'label' if row.path else 'path'} is empty")
        if row.path in first:
            raise refused(file, row.line, f"'{row.path}' has a label already, in line {first[row.path]}")
        first[row.path] = row.line
    return rows


def refused(file: Path, line: int, why: str) -> StageError:
    return StageError(Reason.bad_labels, f"{file.name} line {line}: {why}.")


def _read_csv(file: Path) -> list[LabelRow]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            return list(_csv_rows(csv.DictReader(text, strict=True), file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StageError(Reason.bad_labels, f"{file.name} can't be read as CSV: {_cause(error)}.") from error


def _csv_rows(reader: "csv.DictReader[str]", file: Path) -> Iterator[LabelRow]:
    _need_columns(file, reader.fieldnames or ())
    for row in reader:
        yield LabelRow(reader.line_num, _plain(row["path"] or ""), (row["label"] or "").strip())


def _read_parquet(file: Path) -> list[LabelRow]:
    import pyarrow  # only here: a stage machine that reads no Parquet needs no pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file)
        _need_columns(file, schema.names)
        table = pyarrow.parquet.read_table(file, columns=list(COLUMNS))
    except (OSError, pyarrow.ArrowException) as error:
        raise StageError(Reason.bad_labels, f"{file.name} can't be read as Parquet: {_cause(error)}.") from error
    paths, labels = (table.column(name).to_pylist() for name in COLUMNS)
    return [
        LabelRow(line, _plain(_text(file, line, path)), _text(file, line, label).strip())
        for line, (path, label) in enumerate(zip(paths, labels, strict=True), start=1)
    ]


def _text(file: Path, line: int, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise refused(file, line, f"{value!r} is neither a string nor an integer")
    return str(value)


def _need_columns(file: Path, names: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise StageError(Reason.bad_labels, f"{file.name} has no column '{missing[0]}'; it needs `path` and `label`.")


def _plain(path: str) -> str:
    return path.strip().removeprefix("./")


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0].rstrip(".")
