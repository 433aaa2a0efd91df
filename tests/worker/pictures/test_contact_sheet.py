from pathlib import Path

import numpy as np
import pytest

from worker.data.store import ImageStore, write_store
from worker.pictures.contact_sheet import CAPTION_WIDTH, GAP, contact_sheet, largest_clusters

LABELS = np.array([2, 0, 2, -1, 2, 0, 1], np.int32)
DISTANCES = np.array([3, 1, 1, np.nan, 2, 0.5, 9], np.float32)


def test_largest_clusters_first_and_nearest_images_first() -> None:
    rows = largest_clusters(LABELS, DISTANCES, rows=2, images=2)
    assert [(row.cluster, row.size, row.images.tolist()) for row in rows] == [(2, 3, [2, 4]), (0, 2, [5, 1])]


def test_clusters_without_images_have_no_row() -> None:
    assert [row.cluster for row in largest_clusters(np.array([5, 5, 1], np.int32), np.zeros(3, np.float32), 9, 9)] == [
        5,
        1,
    ]


def test_images_of_unknown_distance_keep_the_store_s_order() -> None:
    rows = largest_clusters(LABELS, np.full(7, np.nan, np.float32), rows=1, images=3)
    assert rows[0].images.tolist() == [0, 2, 4]


@pytest.fixture
def colours(tmp_path: Path) -> ImageStore:
    """Image number n is a flat grey of 30 n."""
    images = np.repeat(np.arange(7, dtype=np.uint8) * 30, 16 * 16 * 3).reshape(7, 16, 16, 3)
    write_store(tmp_path / "store", images, [f"{index}.png" for index in range(7)], [None] * 7)
    return ImageStore.open(tmp_path / "store")


def test_every_row_shows_its_images_after_the_caption(colours: ImageStore) -> None:
    rows = largest_clusters(LABELS, DISTANCES, rows=3, images=3)
    sheet = np.asarray(contact_sheet(colours, rows, "title", thumbnail=40))
    row_height, top = 42, sheet.shape[0] - 3 * 42
    shown = [
        [int(sheet[top + row * row_height + 20, CAPTION_WIDTH + column * (40 + GAP) + 20, 0]) for column in range(3)]
        for row in range(3)
    ]
    assert shown == [[60, 120, 0], [150, 30, 255], [180, 255, 255]]
    captions = sheet[top:, :CAPTION_WIDTH]
    assert all((captions[row * row_height : (row + 1) * row_height] < 100).any() for row in range(3))


def test_a_sheet_without_clusters_is_only_a_title(colours: ImageStore) -> None:
    assert contact_sheet(colours, [], "no clusters", thumbnail=40).height < 40
