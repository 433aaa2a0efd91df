"""Tensors as pictures."""

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from worker.pictures.text import LINE, PAPER, width_of, write

GAP = 2


def image_of(pixels: Tensor) -> Image.Image:
    """uint8, or float in 0..255, (3, h, w) on any device -> a picture of that size."""
    values = pixels.detach().float().round().clamp(0, 255).byte().cpu()
    return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """From left to right, aligned at the top."""
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    joined = Image.new("RGB", (width, max(picture.height for picture in pictures)), PAPER)
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width + GAP
    return joined


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """From top to bottom, aligned at the left."""
    height = sum(picture.height for picture in pictures) + GAP * (len(pictures) - 1)
    joined = Image.new("RGB", (max(picture.width for picture in pictures), height), PAPER)
    top = 0
    for picture in pictures:
        joined.paste(picture, (0, top))
        top += picture.height + GAP
    return joined


def equally_wide(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Each with paper to its right up to the width of the widest."""
    widest = max((picture.width for picture in pictures), default=0)
    padded = [Image.new("RGB", (widest, picture.height), PAPER) for picture in pictures]
    for page, picture in zip(padded, pictures, strict=True):
        page.paste(picture, (0, 0))
    return padded


def with_square(picture: Image.Image, left: int, top: int, side: int, colour: tuple[int, int, int]) -> Image.Image:
    """A copy with the edge of a square drawn on it, two pixels thick."""
    marked = picture.copy()
    ImageDraw.Draw(marked).rectangle((left, top, left + side - 1, top + side - 1), outline=colour, width=2)
    return marked


def captioned(picture: Image.Image, caption: str) -> Image.Image:
    """With words below it."""
    height = LINE * (caption.count("\n") + 1) + 2 * GAP
    framed = Image.new("RGB", (max(picture.width, width_of(caption) + 2 * GAP), picture.height + height), PAPER)
    framed.paste(picture, (0, 0))
    write(ImageDraw.Draw(framed), GAP, picture.height + GAP, caption)
    return framed
