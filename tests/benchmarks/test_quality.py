"""Images that judge are shown to no training."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import without_held_out
from worker.config.probe import LabelSplit
from worker.data.store import ImageStore, write_store


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), dtype=np.uint8)
    paths = [f"{number}.png" for number in range(200)]
    store = tmp_path / "ingest" / "store"
    store.parent.mkdir()
    write_store(store, pixels, paths, ["cat" if number % 2 else "dog" for number in range(200)])
    return store


def test_a_tenth_judges(whole: Path, tmp_path: Path) -> None:
    seen = ImageStore.open(without_held_out(whole, LabelSplit(rule="md5-mod-10"), tmp_path / "seen"))
    assert seen.paths == [path for path in ImageStore.open(whole).paths if _digest(path) % 10]


def test_another_share_judges(whole: Path, tmp_path: Path) -> None:
    tenth, half = (
        ImageStore.open(without_held_out(whole, split, tmp_path / "seen"))
        for split in (LabelSplit(rule="md5-mod-10"), LabelSplit(rule="md5-share", holdout=0.5))
    )
    assert half.paths == [path for path in ImageStore.open(whole).paths if _digest(path) >> 64 >= 2**63]
    assert tenth.digest != half.digest


def test_images_keep_their_pixels_and_labels(whole: Path, tmp_path: Path) -> None:
    store = ImageStore.open(whole)
    seen = ImageStore.open(without_held_out(whole, LabelSplit(rule="md5-share", holdout=0.5), tmp_path / "seen"))
    index = {path: number for number, path in enumerate(store.paths)}
    for number, path in enumerate(seen.paths):
        assert (seen.images[number] == store.images[index[path]]).all()
        assert seen.classes[seen.labels[number]] == store.classes[store.labels[index[path]]]


def _digest(path: str) -> int:
    return int(hashlib.md5(path.encode(), usedforsecurity=False).hexdigest(), 16)
