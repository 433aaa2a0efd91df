"""A row of images per query: what a network takes to be alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from worker.data.store import ImageStore
from worker.pictures.text import LINE, PAPER, write

CAPTION_WIDTH = 132
GAP, FRAME = 2, 3
QUERY_GAP = 10
"""Between the query and what was found for it."""
SAME, OTHER = (38, 140, 60), (190, 60, 50)
_LONGEST = 18
"""Letters of a class's name that fit."""


@dataclass(frozen=True)
class RetrievalRow:
    query: int
    """Index into the store."""
    neighbours: NDArray[np.int64]
    """Indices into the store, the most similar first."""
    precision: float
    """Average precision of the whole ranking, 0..1."""


def retrieval_grid(store: ImageStore, rows: Sequence[RetrievalRow], title: str, thumbnail: int) -> Image.Image:
    """`thumbnail` is the pixels of an image's side; neighbours of the query's class have a green frame, others red."""
    columns = max((len(row.neighbours) for row in rows), default=0)
    cell = thumbnail + 2 * FRAME + GAP
    top_height = LINE * (title.count("\n") + 1) + 2 * GAP
    width = max(CAPTION_WIDTH + (1 + columns) * cell + QUERY_GAP, 640)
    grid = Image.new("RGB", (width, top_height + len(rows) * cell), PAPER)
    draw = ImageDraw.Draw(grid)
    write(draw, GAP, GAP, title)
    for number, row in enumerate(rows):
        top = top_height + number * cell
        write(draw, GAP, top + FRAME, f"{_name(store, row.query)}\nap {row.precision:.2f}")
        grid.paste(_thumbnail(store, row.query, thumbnail), (CAPTION_WIDTH + FRAME, top + FRAME))
        for column, index in enumerate(row.neighbours, start=1):
            left = CAPTION_WIDTH + column * cell + QUERY_GAP
            same = store.labels[int(index)] == store.labels[row.query]
            side = thumbnail + 2 * FRAME
            draw.rectangle((left, top, left + side - 1, top + side - 1), fill=SAME if same else OTHER)
            grid.paste(_thumbnail(store, int(index), thumbnail), (left + FRAME, top + FRAME))
    return grid


def _name(store: ImageStore, index: int) -> str:
    name = store.classes[int(store.labels[index])]
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _thumbnail(store: ImageStore, index: int, side: int) -> Image.Image:
    return Image.fromarray(np.asarray(store.images[index])).resize((side, side), Image.Resampling.BICUBIC)
