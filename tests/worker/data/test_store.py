import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worker.config.reasons import Reason
from worker.data.store import ImageStore, ImageStoreWriter, Problem, StoredImage, read_manifest, write_row, write_store
from worker.stages.contract import StageError


def squares(count: int = 3, side: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def image(name: str, label: str | None = None) -> StoredImage:
    return StoredImage(name, f"sha-{name}", 10, 20, 30, label)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    images = squares()
    write_store(tmp_path, images, ["b.png", "a.png", "c.png"], ["cat", None, "ant"])
    store = ImageStore.open(tmp_path)
    assert (store.count, store.side) == (3, 8)
    assert store.paths == ["a.png", "b.png", "c.png"]
    assert store.classes == ["ant", "cat"]
    assert store.labels.tolist() == [-1, 1, 0]
    np.testing.assert_array_equal(store.images, images[[1, 0, 2]])


def test_opened_images_cannot_be_changed(tmp_path: Path) -> None:
    write_store(tmp_path, squares(), ["a", "b", "c"], [None] * 3)
    with pytest.raises(ValueError, match="read-only"):
        ImageStore.open(tmp_path).images[0] = 0


def test_kept_rows_close_the_gaps_that_failed_files_left(tmp_path: Path) -> None:
    images = squares(5)
    with ImageStoreWriter(tmp_path, 8) as writer, writer.pixels_path.open("r+b") as file:
        for row in range(5):
            write_row(file.fileno(), row, images[row])
        for row in (1, 2, 4):
            writer.keep(image(f"{row}.png"), row)
        writer.finish()
    store = ImageStore.open(tmp_path)
    np.testing.assert_array_equal(store.images, images[[1, 2, 4]])
    assert store.paths == ["1.png", "2.png", "4.png"]


def test_facts_count_images_labels_duplicates_and_bad_files(tmp_path: Path) -> None:
    with ImageStoreWriter(tmp_path, 8) as writer:
        writer.add(image("a", "ant"), squares()[0])
        writer.add(image("b"), squares()[1])
        writer.skip(Problem("c", "duplicate", "same bytes as a"))
        writer.skip(Problem("d", "undecodable", "the file is empty"))
        facts = writer.finish()
    assert facts == json.loads((tmp_path / "store.json").read_text())
    digest, photographs = facts.pop("digest"), facts.pop("photographs")
    assert facts == {"count": 2, "side": 8, "classes": ["ant"], "labelled": 1, "skipped": 1, "duplicates": 1}
    assert (len(digest), len(photographs)) == (64, 64)
    problems = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    assert problems[1] == {"path": "d", "reason": "undecodable", "detail": "the file is empty"}


def test_manifest_lines_hold_what_is_known_of_each_file(tmp_path: Path) -> None:
    with ImageStoreWriter(tmp_path, 8) as writer:
        writer.add(image("ä.png", "cat"), squares()[0])
        writer.finish()
    assert list(read_manifest(tmp_path)) == [
        {"index": 0, "path": "ä.png", "sha256": "sha-ä.png", "bytes": 10, "width": 20, "height": 30, "label": "cat"}
    ]


@pytest.mark.parametrize(
    ("side", "entry"),
    [
        (16, image("a", "x")),
        (8, image("b", "x")),
        (8, image("a", "y")),
        (8, StoredImage("a", "other", 10, 20, 30, "x")),
    ],
)
def test_digest_tells_side_path_content_and_label(tmp_path: Path, side: int, entry: StoredImage) -> None:
    digests = set()
    for name, (size, line) in {"one": (8, image("a", "x")), "other": (side, entry)}.items():
        with ImageStoreWriter(tmp_path / name, size) as writer:
            writer.add(line, squares(side=size)[0])
            digests.add(writer.finish()["digest"])
    assert len(digests) == 2


def photographs_of(path: Path, side: int, *images: StoredImage) -> str:
    with ImageStoreWriter(path, side) as writer:
        for one in images:
            writer.add(one, squares(side=side)[0])
        writer.finish()
    return ImageStore.open(path).photographs


def test_the_same_photographs_are_known_at_any_side_path_and_label(tmp_path: Path) -> None:
    one, other = image("a", "x"), image("b", "y")
    stored = photographs_of(tmp_path / "one", 8, one, other)
    again = (replace(other, path="0", label="z"), replace(one, path="1", label=None))
    assert photographs_of(tmp_path / "again", 16, *again) == stored
    assert stored == hashlib.sha256(b"sha-a\nsha-b\n").hexdigest()


def test_some_of_the_photographs_and_more_of_them_are_others(tmp_path: Path) -> None:
    lines = [image(name) for name in "abc"]
    found = {photographs_of(tmp_path / str(count), 8, *lines[:count]) for count in (1, 2, 3)}
    assert len(found) == 3


def test_a_store_of_an_earlier_version_tells_its_photographs_too(tmp_path: Path) -> None:
    facts = write_store(tmp_path, squares(), ["b", "a", "c"], [None] * 3)
    told = facts.pop("photographs")
    assert ImageStore.open(tmp_path).photographs == told
    (tmp_path / "store.json").write_text(json.dumps(facts))
    assert ImageStore.open(tmp_path).photographs == told


def test_digest_does_not_depend_on_where_the_store_lies(tmp_path: Path) -> None:
    facts = [write_store(tmp_path / name, squares(), ["a", "b", "c"], ["x", "y", None]) for name in ("one", "two")]
    assert facts[0] == facts[1]


@pytest.mark.parametrize("file", ["store.json", "images.u8", "manifest.jsonl"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_store_is_refused(tmp_path: Path, file: str, damage: str) -> None:
    write_store(tmp_path / "store", squares(), ["a", "b", "c"], [None] * 3)
    broken = shutil.copytree(tmp_path / "store", tmp_path / "broken") / file
    if damage == "missing":
        broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[:-5])
    with pytest.raises(StageError) as refusal:
        ImageStore.open(tmp_path / "broken")
    assert refusal.value.reason is Reason.artifact_corrupt


def test_images_of_another_shape_or_dtype_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_store(tmp_path, np.zeros((1, 8, 8, 3)), ["a"], [None])
    with pytest.raises(ValueError, match="uint8"):
        write_store(tmp_path, np.zeros((1, 8, 9, 3), np.uint8), ["a"], [None])
