"""Drawn images in two class folders: discs on dark ground, and stripes on light ground."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def draw_images(folder: Path, per_class: int = 16, side: int = 96) -> int:
    """Write 2 x `per_class` PNGs below `folder`, and return how many."""
    generator = np.random.default_rng(0)
    for name, draw in (("discs", _discs), ("stripes", _stripes)):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            draw(generator, side).save(folder / name / f"{index:03}.png")
    return 2 * per_class


def _discs(generator: np.random.Generator, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), _colour(generator, 0, 90))
    pen = ImageDraw.Draw(image)
    for x, y in generator.integers(0, side, (8, 2)):
        radius = int(generator.integers(4, side // 4))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), _colour(generator, 90, 256))
    return image


def _stripes(generator: np.random.Generator, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), _colour(generator, 160, 256))
    pen = ImageDraw.Draw(image)
    for x in range(0, side * 2, int(generator.integers(8, 20))):
        pen.line((x, 0, x - side, side), _colour(generator, 0, 160), width=4)
    return image


def _colour(generator: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in generator.integers(low, high, 3))
    return red, green, blue
