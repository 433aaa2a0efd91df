from dataclasses import astuple
from pathlib import Path

import pytest
import torch

from tests.worker.evaluation.detectors.drawn import COLOURS, HEIGHT, WIDTH, drawn_store
from worker.data.annotated import AnnotatedStore
from worker.evaluation.detectors.scenes import KeptScenes, Scene, read_scenes

CLASSES = sorted(COLOURS)
PHOTOGRAPH = 3 * WIDTH * HEIGHT
"""Bytes."""
PROPOSALS = [torch.rand(number, 4) for number in range(5)]


@pytest.fixture
def store(tmp_path: Path) -> AnnotatedStore:
    return drawn_store(tmp_path / "store", 5)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images that were decoded, in order."""
    found: list[int] = []
    read = AnnotatedStore.read

    def told(store: AnnotatedStore, image: int) -> torch.Tensor:
        found.append(image)
        return read(store, image)

    monkeypatch.setattr(AnnotatedStore, "read", told)
    return found


def same(one: Scene, other: Scene) -> bool:
    return all(torch.equal(*pair) for pair in zip(astuple(one), astuple(other), strict=True))


@pytest.mark.parametrize("limit", [0, 2 * PHOTOGRAPH, 5 * PHOTOGRAPH])
def test_scenes_are_the_same_whether_all_some_or_none_are_kept(store: AnnotatedStore, limit: int) -> None:
    images = [3, 0, 4, 1, 2]
    direct = list(read_scenes(store, images, CLASSES, PROPOSALS, pin=False))
    kept = KeptScenes(store, images, CLASSES, PROPOSALS, pin=False, limit=limit)
    assert len(kept) == 5
    assert all(same(kept[position], scene) for position, scene in enumerate(direct))


def test_no_more_photographs_are_kept_than_the_limit_lets(store: AnnotatedStore, decoded: list[int]) -> None:
    scenes = KeptScenes(store, range(5), CLASSES, PROPOSALS, pin=False, limit=3 * PHOTOGRAPH - 1)
    assert sorted(decoded) == [0, 1]
    for _ in range(2):
        for position in range(5):
            _ = scenes[position]
    assert decoded[2:] == [2, 3, 4, 2, 3, 4]


def test_what_fits_is_decoded_once(store: AnnotatedStore, decoded: list[int]) -> None:
    scenes = KeptScenes(store, range(5), CLASSES, PROPOSALS, pin=False)
    assert all(same(scenes[position], scenes[position]) for position in range(5))
    assert sorted(decoded) == [0, 1, 2, 3, 4]
