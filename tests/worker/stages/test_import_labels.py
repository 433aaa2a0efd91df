import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from worker.config.label import ImportLabelsConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.data.store import write_store
from worker.stages.contract import StageError
from worker.stages.import_labels import ImportLabelsInputs, ImportLabelsResult, run
from worker.stages.standalone import LocalContext

PATHS = [f"{name}.png" for name in "abcde"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(tmp_path / "store", np.zeros((5, 8, 8, 3), np.uint8), PATHS, [None] * 5)
    return tmp_path / "store"


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    (tmp_path / "upload").mkdir()
    return tmp_path / "upload"


def import_labels(store: Path, upload: Path, *, allow_missing: bool = False) -> ImportLabelsResult:
    context = LocalContext(store.parent / "work")
    return run(ImportLabelsConfig(allow_missing=allow_missing), ImportLabelsInputs(store=store, upload=upload), context)


def labels(result: ImportLabelsResult) -> list[int]:
    array = np.load(result.labels.path / "labels.npy")
    assert array.dtype == np.int32
    return list(array)


def refusal(store: Path, upload: Path, *, allow_missing: bool = False) -> str:
    with pytest.raises(StageError) as error:
        import_labels(store, upload, allow_missing=allow_missing)
    assert error.value.reason is Reason.bad_labels
    assert not (store.parent / "work" / "labels").exists()
    return str(error.value)


def csv(upload: Path, *values: str | int, paths: list[str] = PATHS) -> None:
    rows = "".join(f"{path},{value}\n" for path, value in zip(paths, values, strict=False))
    (upload / "mine.csv").write_text("path,label\n" + rows)


def test_names_are_numbered_in_their_order(store: Path, upload: Path) -> None:
    csv(upload, "dog", "cat", "dog", "ant", "cat")
    assert labels(import_labels(store, upload)) == [2, 1, 2, 0, 1]


def test_integers_are_numbered_by_their_value(store: Path, upload: Path) -> None:
    csv(upload, 10, 9, 100, 9, 10)
    assert labels(import_labels(store, upload)) == [1, 0, 2, 0, 1]


@pytest.mark.parametrize("values", [[10, 9, 100, 9, 10], ["b", "a", "c", "a", "b"]])
def test_parquet_says_the_same_as_csv(store: Path, upload: Path, values: list[object]) -> None:
    table = pyarrow.table({"path": PATHS[::-1], "label": values[::-1]})
    pyarrow.parquet.write_table(table, upload / "mine.parquet")
    assert labels(import_labels(store, upload)) == [1, 0, 2, 0, 1]


def test_the_set_is_whole(store: Path, upload: Path) -> None:
    csv(upload, "x", "y", "x", "x", "y")
    produced = import_labels(store, upload).labels
    assert produced.kind is ArtifactKind.pseudo_label_set
    distances = np.load(produced.path / "distances.npy")
    assert distances.dtype == np.float32
    assert distances.shape == (5,)
    assert np.isnan(distances).all()
    facts = json.loads((produced.path / "labels.json").read_text())
    assert (facts["k"], facts["count"], facts["sizes"], facts["source"]) == (2, 5, [3, 2], "import")
    assert facts["names"] == ["x", "y"]
    assert (produced.path / "manifest.jsonl").read_bytes() == (store / "manifest.jsonl").read_bytes()
    assert {key: facts[key] for key in produced.summary} == produced.summary
    assert produced.summary["labelled"] == 5


def test_unknown_paths_are_refused_by_name(store: Path, upload: Path) -> None:
    csv(upload, *"xyxyxyxyx", paths=["a.png", *(f"no{index}.png" for index in range(5))])
    said = refusal(store, upload, allow_missing=True)
    assert "mine.csv line 3" in said
    assert "'no0.png', 'no1.png', 'no2.png' and 2 more" in said


def test_a_path_that_comes_twice_is_refused(store: Path, upload: Path) -> None:
    csv(upload, *"xyx", paths=["a.png", "b.png", "a.png"])
    assert "'a.png' has a label already" in refusal(store, upload)


def test_missing_images_are_refused_by_name_or_left_without_label(store: Path, upload: Path) -> None:
    csv(upload, "x", "y")
    assert "no label for 3 of 5 images ('c.png', 'd.png', 'e.png')" in refusal(store, upload)
    result = import_labels(store, upload, allow_missing=True)
    assert labels(result) == [0, 1, -1, -1, -1]
    assert result.labels.summary["labelled"] == 2


def test_minus_one_means_none_as_in_our_own_files(store: Path, upload: Path) -> None:
    csv(upload, 0, -1, 1, 0, 1)
    assert "no label for 1 of 5 images ('b.png')" in refusal(store, upload)
    assert labels(import_labels(store, upload, allow_missing=True)) == [0, -1, 1, 0, 1]


def test_a_single_label_teaches_nothing_and_is_refused(store: Path, upload: Path) -> None:
    csv(upload, *"xxxxx")
    assert "1 different labels" in refusal(store, upload)


@pytest.mark.parametrize("files", [[], ["a.csv", "b.csv"]])
def test_the_upload_is_one_file(store: Path, upload: Path, files: list[str]) -> None:
    for name in files:
        (upload / name).write_text("path,label\n")
    assert f"holds {len(files)} files" in refusal(store, upload)
