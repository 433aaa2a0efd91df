"""Words on pictures, in Pillow's own font."""

import math

from PIL import ImageDraw, ImageFont

INK, PAPER = (32, 32, 32), (255, 255, 255)
SIZE = 12
LINE = 16
"""Pixels from one line to the next."""


def width_of(text: str) -> int:
    """Pixels that its longest line takes, rounded up."""
    font = ImageFont.load_default(SIZE)
    return math.ceil(max(font.getlength(line) for line in text.split("\n")))


def write(draw: ImageDraw.ImageDraw, left: int, top: int, text: str) -> None:
    draw.multiline_text((left, top), text, fill=INK, font=ImageFont.load_default(SIZE), spacing=LINE - SIZE)
