"""Images drawn for the tests."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUARTERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128)}


def quarters(side: int = 64) -> Image.Image:
    """Red and green above blue and grey: every turn and mirroring shows."""
    image = Image.new("RGB", (side, side))
    half = side // 2
    for index, colour in enumerate(QUARTERS.values()):
        image.paste(colour, (index % 2 * half, index // 2 * half, index % 2 * half + half, index // 2 * half + half))
    return image


def noise(seed: int, width: int = 40, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def write_image(path: Path, seed: int) -> bytes:
    """A small image that no other seed gives, at `path`; returns the file's bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = encoded(noise(seed))
    path.write_bytes(content)
    return content


def corners(pixels: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters, row by row."""
    near, far = pixels.shape[0] // 4, pixels.shape[0] * 3 // 4
    return [tuple(map(int, pixels[y, x])) for y in (near, far) for x in (near, far)]
