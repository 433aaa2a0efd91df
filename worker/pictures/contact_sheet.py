"""A row of images per cluster: what the clusters are about, at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from worker.data.store import ImageStore
from worker.pictures.text import LINE, PAPER, write

CAPTION_WIDTH = 92
GAP = 2


@dataclass(frozen=True)
class ClusterRow:
    cluster: int
    size: int
    images: NDArray[np.int64]
    """Indices into the store, nearest to the centre first."""


def largest_clusters(
    labels: NDArray[np.int32], distances: NDArray[np.float32], rows: int, images: int
) -> list[ClusterRow]:
    """The `rows` largest clusters, largest first, each with its `images` nearest members.

    `labels` -1 = none. Unknown distances (NaN) come last, in the store's order.
    """
    sizes = np.bincount(labels[labels >= 0])
    order = np.argsort(-sizes, kind="stable")[:rows]
    return [_row(int(cluster), labels, distances, images) for cluster in order if sizes[cluster]]


def _row(cluster: int, labels: NDArray[np.int32], distances: NDArray[np.float32], images: int) -> ClusterRow:
    members = np.flatnonzero(labels == cluster)
    nearest = members[np.argsort(distances[members], kind="stable")]
    return ClusterRow(cluster, len(members), nearest[:images])


def contact_sheet(store: ImageStore, rows: Sequence[ClusterRow], title: str, thumbnail: int) -> Image.Image:
    """`thumbnail` is the pixels of an image's side; each row is captioned with its cluster's number and size."""
    columns = max((len(row.images) for row in rows), default=0)
    title_height = LINE * (title.count("\n") + 1) + 2 * GAP
    cell = thumbnail + GAP
    row_height = max(cell, 2 * LINE + GAP)
    width = max(CAPTION_WIDTH + columns * cell, 640)
    sheet = Image.new("RGB", (width, title_height + len(rows) * row_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, GAP, GAP, title)
    for number, row in enumerate(rows):
        top = title_height + number * row_height
        write(draw, GAP, top + GAP, f"cluster {row.cluster}\n{row.size} images")
        for column, index in enumerate(row.images):
            sheet.paste(_thumbnail(store, int(index), thumbnail), (CAPTION_WIDTH + column * cell, top))
    return sheet


def _thumbnail(store: ImageStore, index: int, side: int) -> Image.Image:
    return Image.fromarray(np.asarray(store.images[index])).resize((side, side), Image.Resampling.BICUBIC)
