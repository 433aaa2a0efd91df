"""docs/proposals.md shows code that makes files which are read."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat  # type: ignore[import-untyped]

from tests.worker.data.devkit import DrawnFolder
from worker.data.proposals import FloatBoxes
from worker.data.voc import find_devkit
from worker.data.voc_proposals import GivenProposals, find_proposals

PAGE = Path(__file__).parents[3] / "docs" / "proposals.md"
SIZE = (333, 250)


@pytest.fixture
def devkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`VOCdevkit` below the current folder, with two images."""
    monkeypatch.chdir(tmp_path)
    folder = DrawnFolder(tmp_path / "VOCdevkit" / "VOC2007")
    for stem in ("000012", "000017"):
        folder.image(stem, SIZE)
    folder.sets({"Main/trainval": ["000012", "000017"]})
    return tmp_path / "VOCdevkit"


def passage(words: str) -> str:
    (found,) = (code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if words in code)
    assert isinstance(found, str)
    return found


def proposals(root: Path) -> list[FloatBoxes | None]:
    devkit = find_devkit(root)
    with GivenProposals(devkit, find_proposals(devkit, None)) as given:
        return [given.of(f"VOC2007/{stem}", SIZE) for stem in ("000012", "000017")]


def test_boxes_written_by_hand_are_read(devkit: Path) -> None:
    exec(passage("boxes = {"), {})
    first, second = proposals(devkit)
    assert first is not None
    assert first.tolist() == [[8, 30, 120.5, 200], [0, 0, 333, 250]]
    assert second is not None
    assert second.shape == (0, 4)


def test_converted_boxes_are_those_of_the_file(devkit: Path) -> None:
    """A box over the whole image, and its upper left pixel: one file says them from 1 with the last pixel, as VOC."""
    boxes, images = np.empty((1, 2), object), np.empty((2, 1), object)
    boxes[0, 0] = np.array([[1, 1, 250, 333]], np.uint16)
    boxes[0, 1] = np.array([[1, 1, 1, 1], [11, 21, 30, 50]], np.uint16)
    images[:, 0] = ["000012", "000017"]
    savemat("voc_2007_trainval.mat", {"boxes": boxes, "images": images})
    exec(passage("loadmat"), {})
    Path("proposals.npz").rename(devkit / "proposals.npz")
    first, second = proposals(devkit)
    assert first is not None
    assert first.tolist() == [[0, 0, 333, 250]]
    assert second is not None
    assert second.tolist() == [[0, 0, 1, 1], [20, 10, 50, 30]]
