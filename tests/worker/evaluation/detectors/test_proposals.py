import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.evaluation.detectors.drawn import HEIGHT, WIDTH, drawn_store
from worker.config.reasons import Reason
from worker.config.transfer import VocDetectionProtocol
from worker.data.annotated import AnnotatedStore, write_annotated_store
from worker.data.proposals import FILE, FloatBoxes
from worker.evaluation.detection_ap import recall
from worker.evaluation.detectors import proposals as module
from worker.evaluation.detectors.grid import grid_boxes
from worker.evaluation.detectors.opencv import edge_boxes, selective_search
from worker.evaluation.detectors.proposals import (
    Source,
    proposals_of,
    read_proposals,
    resolved_source,
)
from worker.evaluation.detectors.scenes import objects_of
from worker.stages.contract import StageError, Stopped
from worker.stages.standalone import LocalContext

PROTOCOL = VocDetectionProtocol(proposals=500)
FINDERS = {"selective_search": selective_search, "edge": edge_boxes}


@pytest.mark.parametrize(("source", "met"), [("selective_search", 1), ("edge", 1), ("grid", 0.5)])
def test_sources_find_boxes_inside_the_image_at_the_objects(tmp_path: Path, source: Source, met: float) -> None:
    store = drawn_store(tmp_path / "store")
    found = proposals_of(store, [2, 0], source, PROTOCOL, 1, LocalContext(tmp_path / "work"))
    for boxes in found:
        assert boxes.dtype == np.float32
        assert 10 < len(boxes) <= 500
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= (WIDTH + 1, HEIGHT + 1)).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 7.99).all()
    objects = objects_of(store, [2, 0], ["ball", "cube"])
    assert recall([boxes.astype(np.float64) for boxes in found], objects) >= met


@pytest.mark.parametrize("source", FINDERS)
def test_a_search_finds_the_same_again_and_about_the_same_in_a_larger_copy(source: str) -> None:
    image = photograph()
    find = FINDERS[source]
    first = find(image, 500)
    assert np.array_equal(first, find(image, 500))
    large = np.kron(image, np.ones((3, 3, 1), np.uint8))
    shrunk = find(large, 128)
    assert shrunk.max() > 2.5 * first.max()
    np.testing.assert_allclose(shrunk.max(0) / 3, first.max(0), atol=2)


def photograph() -> NDArray[np.uint8]:
    image = np.full((96, 128, 3), 90, np.uint8)
    image[20:60, 30:80] = (200, 40, 40)
    image[50:90, 90:120] = (40, 200, 60)
    return image


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (128, 96), (1000, 60), (5, 5)])
@pytest.mark.parametrize("count", [1, 30, 2000])
def test_a_grid_has_at_most_as_many_windows_as_asked_for_all_in_the_image(size: tuple[int, int], count: int) -> None:
    boxes = grid_boxes(size, count)
    assert 1 <= len(boxes) <= count
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= np.array(size) + 1e-3).all()


def test_a_grid_uses_what_it_is_given_and_covers_every_corner() -> None:
    boxes = grid_boxes((500, 375), 2000)
    assert len(boxes) > 1600
    assert boxes.min(0)[:2].tolist() == [0, 0]
    np.testing.assert_allclose(boxes.max(0)[2:], [500, 375], atol=1e-3)


def test_what_was_searched_is_not_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = drawn_store(tmp_path / "store")
    first = proposals_of(store, [0, 1], "edge", PROTOCOL, 1, LocalContext(tmp_path / "one"))
    searched: list[int] = []

    def noted(settings: module.Search, images: list[int]) -> list[FloatBoxes]:
        searched.extend(images)
        return [np.zeros((0, 4), np.float32) for _ in images]

    monkeypatch.setattr(module, "search", noted)
    context = LocalContext(tmp_path / "two", resume_from=tmp_path / "one")
    second = proposals_of(store, [1, 3, 0], "edge", PROTOCOL, 1, context)
    assert searched == [3]
    assert np.array_equal(second[0], first[1])
    assert np.array_equal(second[2], first[0])


def test_boxes_of_other_settings_are_not_taken_over(tmp_path: Path) -> None:
    store = drawn_store(tmp_path / "store")
    proposals_of(store, [0], "edge", PROTOCOL, 1, LocalContext(tmp_path / "one"))
    about = str(np.load(tmp_path / "one" / FILE)["about"])
    assert read_proposals(tmp_path / "one" / FILE, about)
    assert read_proposals(tmp_path / "one" / FILE, about.replace("edge", "selective_search")) == {}


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)
    store = drawn_store(tmp_path / "store", 2)
    together = proposals_of(store, [1, 0], "edge", PROTOCOL, 2, LocalContext(tmp_path / "two"))
    alone = proposals_of(store, [1, 0], "edge", PROTOCOL, 1, LocalContext(tmp_path / "one"))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_stopped_search_keeps_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)
    store = drawn_store(tmp_path / "store")
    with pytest.raises(Stopped):
        proposals_of(store, [0, 1, 2], "edge", PROTOCOL, 1, LocalContext(tmp_path / "work", stop_after=1))
    with np.load(tmp_path / "work" / FILE) as file:
        assert sorted(file.files) == ["VOC2007/000000", "VOC2007/000001", "about"]


def store_with(path: Path, proposals: dict[str, FloatBoxes]) -> AnnotatedStore:
    images = dict.fromkeys(["a/0", "a/1"], np.zeros((30, 40, 3), np.uint8))
    write_annotated_store(path, images, {"all": list(images)}, proposals=proposals)
    return AnnotatedStore.open(path)


def test_given_proposals_are_read_and_the_small_ones_dropped(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 20, 20], [0, 0, 4, 20], [0, 0, 8, 20]], np.float32)
    store = store_with(tmp_path / "store", {"a/0": boxes[:0], "a/1": boxes})
    found = proposals_of(store, [1, 0, 1], "given", PROTOCOL, 1, LocalContext(tmp_path / "work"))
    assert [one.tolist() for one in found] == [[[0, 0, 20, 20], [0, 0, 8, 20]], [], [[0, 0, 20, 20], [0, 0, 8, 20]]]
    first = PROTOCOL.model_copy(update={"proposals": 1})
    assert len(proposals_of(store, [1], "given", first, 1, LocalContext(tmp_path / "work"))[0]) == 1


def test_images_that_none_were_given_for_are_refused(tmp_path: Path) -> None:
    store = store_with(tmp_path / "store", {"a/0": np.zeros((0, 4), np.float32)})
    with pytest.raises(StageError, match=r"1 of 2 images have no proposals in proposals.npz, a/1 among them") as error:
        proposals_of(store, [0, 1, 0, 1], "given", PROTOCOL, 1, LocalContext(tmp_path / "work"))
    assert error.value.reason is Reason.bad_labels


def test_photographs_that_were_registered_without_proposals_are_refused(tmp_path: Path) -> None:
    store = store_with(tmp_path / "store", {})
    with pytest.raises(StageError, match=r"registered without proposals.npz") as error:
        proposals_of(store, [0], "given", PROTOCOL, 1, LocalContext(tmp_path / "work"))
    assert error.value.reason is Reason.bad_config


def test_without_opencv_the_grid_serves_and_a_search_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved_source("auto") == "selective_search"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert resolved_source("auto") == "grid"
    assert resolved_source("given") == "given"
    with pytest.raises(StageError, match="OpenCV") as error:
        resolved_source("selective_search")
    assert error.value.reason is Reason.bad_config
