"""Words on pictures, in Pillow's own font."""

from PIL import ImageDraw, ImageFont

INK, PAPER = (32, 32, 32), (255, 255, 255)
SIZE = 12
LINE = 16
"""Pixels from one line to the next."""


def write(draw: ImageDraw.ImageDraw, left: int, top: int, text: str) -> None:
    draw.multiline_text((left, top), text, fill=INK, font=ImageFont.load_default(SIZE), spacing=LINE - SIZE)
