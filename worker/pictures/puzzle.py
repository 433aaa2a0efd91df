"""A puzzle as a person would look at it: the laid tiles, the hidden ones framed, beside the solution."""

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from worker.pictures.tensor_image import captioned, image_of, side_by_side
from worker.pictures.text import PAPER

GAP = 2
GRID = 3
OCCLUDED = (220, 40, 40)


def puzzle_picture(image: Tensor, tiles: Tensor, occluded: Sequence[bool], cells: Sequence[int]) -> Image.Image:
    """Image uint8 (3, side, side), tiles 0..255 (9, 3, t, t) in slot order -> the image and its puzzle.

    `occluded` says which slots show another image's tile, `cells` which cell of the image belongs in each slot.
    """
    told = " ".join(f"{cell}?" if hidden else str(cell) for cell, hidden in zip(cells, occluded, strict=True))
    laid = _laid(tiles, occluded)
    return captioned(side_by_side([image_of(image), laid]), f"slots show cells {told}")


def _laid(tiles: Tensor, occluded: Sequence[bool]) -> Image.Image:
    step = tiles.shape[-1] + GAP
    puzzle = Image.new("RGB", (GRID * step + GAP, GRID * step + GAP), PAPER)
    draw = ImageDraw.Draw(puzzle)
    for slot, hidden in enumerate(occluded):
        left, top = GAP + slot % GRID * step, GAP + slot // GRID * step
        puzzle.paste(image_of(tiles[slot]), (left, top))
        if hidden:
            draw.rectangle((left - GAP, top - GAP, left + step - 1, top + step - 1), outline=OCCLUDED, width=GAP)
    return puzzle
