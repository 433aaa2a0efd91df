from pathlib import Path

import numpy as np
import pytest

from worker.data.store import ImageStore, write_store
from worker.pictures.retrieval_grid import (
    CAPTION_WIDTH,
    FRAME,
    GAP,
    OTHER,
    QUERY_GAP,
    SAME,
    RetrievalRow,
    retrieval_grid,
)

CELL = 40 + 2 * FRAME + GAP


@pytest.fixture
def greys(tmp_path: Path) -> ImageStore:
    """Image number n is a flat grey of 30 n; even and odd numbers are the two classes."""
    images = np.repeat(np.arange(7, dtype=np.uint8) * 30, 16 * 16 * 3).reshape(7, 16, 16, 3)
    names = [["even", "odd, and rather long as names go"][index % 2] for index in range(7)]
    write_store(tmp_path / "store", images, [f"{index}.png" for index in range(7)], names)
    return ImageStore.open(tmp_path / "store")


def test_each_row_shows_a_query_and_its_neighbours_framed_by_their_class(greys: ImageStore) -> None:
    rows = [RetrievalRow(0, np.array([2, 1, 4]), 0.75), RetrievalRow(5, np.array([3, 6]), 0.5)]
    grid = np.asarray(retrieval_grid(greys, rows, "title", thumbnail=40))
    top = grid.shape[0] - 2 * CELL
    lefts = [CAPTION_WIDTH, *(CAPTION_WIDTH + column * CELL + QUERY_GAP for column in (1, 2, 3))]
    shown = [[int(grid[top + row * CELL + 20, left + 20, 0]) for left in lefts] for row in range(2)]
    assert shown == [[0, 60, 30, 120], [150, 90, 180, 255]]
    frames = [[tuple(grid[top + row * CELL + 1, left + 1].tolist()) for left in lefts[1:]] for row in range(2)]
    assert frames == [[SAME, OTHER, SAME], [SAME, OTHER, (255, 255, 255)]]


def test_every_row_is_captioned_beside_its_images(greys: ImageStore) -> None:
    rows = [RetrievalRow(index, np.array([2]), 0.1) for index in range(3)]
    grid = np.asarray(retrieval_grid(greys, rows, "title", thumbnail=40))
    captions = grid[grid.shape[0] - 3 * CELL :, :CAPTION_WIDTH]
    assert all((captions[row * CELL : (row + 1) * CELL] < 100).any() for row in range(3))


def test_no_queries_make_an_empty_picture(greys: ImageStore) -> None:
    assert retrieval_grid(greys, [], "title", thumbnail=40).width == 640
