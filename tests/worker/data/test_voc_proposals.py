from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.data.devkit import drawn_devkit
from tests.worker.data.npz import saved
from worker.config.reasons import Reason
from worker.data.voc import Devkit, find_devkit
from worker.data.voc_proposals import GivenProposals, find_proposals, inside
from worker.stages.contract import StageError

SIZE = (40, 30)
BOXES = np.array([[0, 1, 20, 10], [5, 5, 40, 30]], np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    drawn_devkit(tmp_path / "voc" / "VOCdevkit")
    return tmp_path / "voc"


def given(path: Path, **arrays: NDArray[Any]) -> Path:
    return saved(path, arrays or {"VOC2007/1": BOXES})


def found(root: Path, named: str | None = None) -> Path | None:
    return find_proposals(find_devkit(root), named)


def refusal(devkit: Devkit, path: Path) -> StageError:
    with pytest.raises(StageError) as error, GivenProposals(devkit, path) as proposals:
        proposals.of("VOC2007/1", SIZE)
    assert error.value.reason is Reason.bad_labels
    return error.value


@pytest.mark.parametrize("place", [".", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_the_file_lies_at_the_top_beside_the_folders_or_in_one(root: Path, place: str) -> None:
    assert found(root) is None
    path = given(root / place / "proposals.npz")
    assert found(root) == path
    assert found(root / "VOCdevkit" / "VOC2012") is None


def test_of_several_files_one_is_named(root: Path) -> None:
    given(root / "proposals.npz")
    path = given(root / "VOCdevkit" / "proposals.npz")
    with pytest.raises(StageError, match=r"'proposals.npz' and 'VOCdevkit/proposals.npz'") as error:
        found(root)
    assert error.value.reason is Reason.bad_config
    assert found(root, "VOCdevkit/proposals.npz") == path


@pytest.mark.parametrize("named", ["boxes.npz", "../outside.npz", "VOCdevkit", "ABSOLUTE"])
def test_a_named_file_that_is_not_in_the_source_is_refused(root: Path, named: str) -> None:
    given(root.parent / "outside.npz")
    named = named.replace("ABSOLUTE", str(given(root / "inside.npz")))
    with pytest.raises(StageError, match="There is no file") as error:
        found(root, named)
    assert error.value.reason is Reason.bad_config


def test_boxes_are_those_of_the_file(root: Path) -> None:
    path = given(root / "proposals.npz", **{"VOC2007/1": BOXES.astype(int), "VOC2012/a": BOXES[:0], "VOC2012/z": BOXES})
    with GivenProposals(find_devkit(root), path) as proposals:
        assert (proposals.name, proposals.ids) == ("proposals.npz", ["VOC2007/1", "VOC2012/a", "VOC2012/z"])
        first, empty, none = (proposals.of(id, SIZE) for id in ("VOC2007/1", "VOC2012/a", "VOC2007/2"))
    assert first is not None
    assert first.dtype == np.float32
    assert first.tolist() == BOXES.tolist()
    assert empty is not None
    assert empty.shape == (0, 4)
    assert none is None


def test_without_a_file_there_are_none(root: Path) -> None:
    with GivenProposals(find_devkit(root), None) as proposals:
        assert (proposals.name, proposals.ids, proposals.of("VOC2007/1", SIZE)) == ("", [], None)


def test_a_file_that_names_no_image_is_refused_with_how_they_are_called(root: Path) -> None:
    path = given(root / "proposals.npz", **{"1": BOXES})
    assert "called as 'VOC2007/1', the file has '1'" in str(refusal(find_devkit(root), path))


def test_a_file_that_cannot_be_read_is_named(root: Path) -> None:
    devkit = find_devkit(root)
    path = root / "VOCdevkit" / "proposals.npz"
    path.write_bytes(b"no archive")
    assert str(refusal(devkit, path)).startswith("The proposals in VOCdevkit/proposals.npz can't be read: ")
    path.unlink()
    path.symlink_to(given(root.parent / "outside.npz"))
    assert "a link that leaves the source" in str(refusal(devkit, path))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((5, 5, np.nan, 9), "is not finite"),
        ((5, 5, np.inf, 9), "is not finite"),
        ((5, 5, 1e300, 9), "is not finite"),
        ((30, 5, 10, 9), "has no area"),
        ((5, 9, 9, 9), "has no area"),
        ((-1.5, 0, 10, 10), "reaches out of the image of 40 x 30"),
        ((0, 0, 30, 40), "reaches out of the image of 40 x 30"),
        ((40, 0, 41, 10), "reaches out of the image of 40 x 30"),
    ],
)
def test_a_box_that_is_none_of_the_image_is_refused(root: Path, box: tuple[float, ...], words: str) -> None:
    path = given(root / "proposals.npz", **{"VOC2007/1": np.concatenate([BOXES.astype(float), [box]])})
    told = str(refusal(find_devkit(root), path))
    assert told.startswith("The proposals in proposals.npz are no good for the image VOC2007/1: box 2 (")
    assert words in told


def test_boxes_that_reach_out_by_rounding_are_clipped() -> None:
    numbers = np.array([[-1, -0.5, 41, 30.5], [1, 2, 39.5, 29]])
    assert inside(numbers, SIZE).tolist() == [[0, 0, 40, 30], [1, 2, 39.5, 29]]
    assert inside(np.zeros((0, 4)), SIZE).shape == (0, 4)
