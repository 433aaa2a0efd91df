from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.config.reasons import Reason
from worker.data.label_file import LabelRow, read_label_file
from worker.stages.contract import StageError

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).map("x".__add__)


def csv(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "labels.csv"
    file.write_bytes(text.encode(encoding))
    return file


def parquet(folder: Path, **columns: object) -> Path:
    file = folder / "labels.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(StageError) as error:
        read_label_file(file)
    assert error.value.reason is Reason.bad_labels
    return str(error.value)


def test_csv_rows_know_their_lines(tmp_path: Path) -> None:
    rows = read_label_file(csv(tmp_path, 'path,label\n./a.jpg,cat\n"b,2.jpg", 7 \n'))
    assert rows == [LabelRow(2, "a.jpg", "cat"), LabelRow(3, "b,2.jpg", "7")]


def test_tabs_and_another_columns_labels(tmp_path: Path) -> None:
    file = tmp_path / "train.tsv"
    file.write_text("path\twnid\tclass\na, b.jpg\tn01\ttench\n")
    assert read_label_file(file, "class") == [LabelRow(2, "a, b.jpg", "tench")]
    with pytest.raises(StageError, match="no column 'label'; it needs `path` and `label`"):
        read_label_file(file)


def test_csv_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    rows = read_label_file(csv(tmp_path, "label,note,path\r\ncat,x,ä.jpg\r\n", "utf-8-sig"))
    assert rows == [LabelRow(2, "ä.jpg", "cat")]


@pytest.mark.parametrize("labels", [["cat", "7"], [3, 7], [-1, 2**40]])
def test_parquet_labels_are_strings_or_integers(tmp_path: Path, labels: list[object]) -> None:
    rows = read_label_file(parquet(tmp_path, path=["a", "b"], label=labels))
    assert [row.label for row in rows] == [str(label) for label in labels]


@given(table=st.dictionaries(NAMES, NAMES, min_size=1, max_size=5))
@settings(max_examples=20)
def test_any_names_survive_parquet(tmp_path_factory: pytest.TempPathFactory, table: dict[str, str]) -> None:
    file = parquet(tmp_path_factory.mktemp("table"), path=list(table), label=list(table.values()))
    assert {row.path: row.label for row in read_label_file(file)} == table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column 'path'"),
        ("a.jpg,cat\n", "no column 'path'"),
        ("path,class\na,b\n", "no column 'label'"),
        ("path,label\na,x\na,y\n", "line 3: 'a' has a label already, in line 2"),
        ("path,label\na,x\n,y\n", "line 3: the path is empty"),
        ("path,label\na,\n", "line 2: the label is empty"),
        ("path,label\na\n", "line 2: the label is empty"),
        ('path,label\na,"x\n', "can't be read as CSV"),
    ],
)
def test_csv_that_is_no_table_of_labels_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(csv(tmp_path, text))


def test_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    assert "can't be read as CSV" in refusal(csv(tmp_path, "path,label\nä,x\n", "latin-1"))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "labels.csv")


def test_parquet_that_is_no_table_of_labels_is_refused(tmp_path: Path) -> None:
    assert "no column 'label'" in refusal(parquet(tmp_path, path=["a"]))
    assert "line 1: 0.5 is neither" in refusal(parquet(tmp_path, path=["a"], label=[0.5]))
    assert "line 2: the label is empty" in refusal(parquet(tmp_path, path=["a", "b"], label=["x", None]))
    (tmp_path / "labels.parquet").write_bytes(b"PAR1 and nothing else")
    assert "can't be read as Parquet" in refusal(tmp_path / "labels.parquet")
