"""A table of labels: CSV, TSV or Parquet with the columns `path` and `label` (or another name for the label)."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.config.reasons import Reason
from worker.stages.contract import StageError

PATH, LABEL = "path", "label"


@dataclass(frozen=True, slots=True)
class LabelRow:
    line: int
    """Of the CSV, where the header is line 1; of the Parquet file, the row from 1."""
    path: str
    label: str


def read_label_file(file: Path, label_column: str = LABEL) -> list[LabelRow]:
    """All rows of a CSV, (suffix `.tsv`) tab-separated or (`.parquet`) Parquet file; further columns are ignored.

    Raises `StageError(bad_labels)` where the file is no such table, a path or label is empty, or a path comes twice.
    """
    read = _read_parquet if file.suffix.lower() == ".parquet" else _read_csv
    rows = read(file, label_column)
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


def _read_csv(file: Path, label_column: str) -> list[LabelRow]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
            reader = csv.DictReader(text, delimiter=delimiter, strict=True)
            return list(_csv_rows(reader, file, label_column))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StageError(Reason.bad_labels, f"{file.name} can't be read as CSV: {_cause(error)}.") from error


def _csv_rows(reader: "csv.DictReader[str]", file: Path, label_column: str) -> Iterator[LabelRow]:
    _need_columns(file, reader.fieldnames or (), label_column)
    for row in reader:
        yield LabelRow(reader.line_num, _plain(row[PATH] or ""), (row[label_column] or "").strip())


def _read_parquet(file: Path, label_column: str) -> list[LabelRow]:
    import pyarrow  # only here: a stage machine that reads no Parquet needs no pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file)
        _need_columns(file, schema.names, label_column)
        table = pyarrow.parquet.read_table(file, columns=[PATH, label_column])
    except (OSError, pyarrow.ArrowException) as error:
        raise StageError(Reason.bad_labels, f"{file.name} can't be read as Parquet: {_cause(error)}.") from error
    paths, labels = (table.column(name).to_pylist() for name in (PATH, label_column))
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


def _need_columns(file: Path, names: Sequence[str], label_column: str) -> None:
    missing = [name for name in (PATH, label_column) if name not in names]
    if missing:
        needed = f"it needs `{PATH}` and `{label_column}`"
        raise StageError(Reason.bad_labels, f"{file.name} has no column '{missing[0]}'; {needed}.")


def _plain(path: str) -> str:
    return path.strip().removeprefix("./")


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0].rstrip(".")
