"""The quoted rows. The checksums were computed from the tables themselves, not from this code."""

import hashlib

import pytest

from app.leaderboard.paper import COLUMNS, SUSPICIOUS, QuotedRow, quoted_rows
from worker.config.scores import Table

TABLES: tuple[Table, ...] = (3, 4, 5, 6)


def row(table: Table, method: str) -> QuotedRow:
    return next(row for row in quoted_rows(table) if row.method == method)


def test_each_table_has_the_papers_rows_and_columns() -> None:
    assert {table: len(quoted_rows(table)) for table in TABLES} == {3: 21, 4: 12, 5: 15, 6: 11}
    assert {table: len(COLUMNS[table]) for table in TABLES} == {3: 4, 4: 5, 5: 5, 6: 7}
    assert all(tuple(row.cells) == COLUMNS[table] for table in TABLES for row in quoted_rows(table))


CHECKSUMS: dict[Table, str] = {
    3: "83a0389235ead93cc6f4d64a23219726e3db66e22c6e21512b75efe82983648f",
    4: "b91b5cd22be33d6b50be14d8e4cc6650188f5a7f534e4579d82c33400a20b416",
    5: "c964f49ed94d2b596b140da0a9c16ae7bcb7bb353be9315b94ad924906c60ffd",
    6: "a694cc6f704a52c526292ce1d8343d617435fdd4e16414d0ccbd50d0ccdd30aa",
}


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_is_as_printed(table: Table) -> None:
    lines = [
        "\t".join([row.method, row.ref, *(f"{cell.text}{'!' if cell.bold else ''}" for cell in row.cells.values())])
        for row in quoted_rows(table)
    ]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == CHECKSUMS[table]


def test_some_cells_to_read() -> None:
    best = row(3, "CC+vgg-Jigsaw++")
    assert [(cell.text, cell.bold) for cell in best.cells.values()] == [
        ("72.5", True), ("56.5", True), ("57.2", True), ("42.6", True),
    ]  # fmt: skip
    moving = row(3, "WatchingObjectsMove [26]")
    assert (moving.ref, [cell.text for cell in moving.cells.values()]) == ("[26]", ["61.0", "-", "52.2", "-"])
    assert row(4, "Random").cells["conv4"].value == 0.163
    assert row(5, "Places labels [41]").cells["conv5"].value == 0.446
    assert row(6, "CC+vgg-Jigsaw++").cells["fc7"].value == 0.279
    assert row(6, "Supervised [17]").cells["fc6"].value is None


def test_table_5_prints_no_references() -> None:
    assert {row.ref for row in quoted_rows(5)} == {""}


def test_bold_is_the_best_of_its_column() -> None:
    for table in TABLES:
        ours = [row for row in quoted_rows(table) if row.method.startswith(("CC+", "Jigsaw", "[37]", "Counting"))]
        for column in COLUMNS[table]:
            (bold,) = [row.cells[column] for row in quoted_rows(table) if row.cells[column].bold]
            assert bold.value == max(row.cells[column].value or 0 for row in ours)


def test_doubtful_cells_are_quoted_and_noted() -> None:
    doubtful = {
        (table, row.method, column): cell.text
        for table in TABLES
        for row in quoted_rows(table)
        for column, cell in row.cells.items()
        if cell.doubt
    }
    assert doubtful == {(4, "CC+HOG [6]", "conv3"): "20.7", (5, "Jigsaw++", "conv5"): "22.9"}
    assert set(doubtful) == set(SUSPICIOUS)
