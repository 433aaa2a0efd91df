"""PNGs written without an imaging library are what Pillow reads."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.artifacts.images import encode_png


def test_pixels_survive() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    read = Image.open(BytesIO(encode_png(pixels.tobytes(), 5, 7)))
    assert read.mode == "RGB"
    assert np.array_equal(np.asarray(read), pixels)


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="RGB"):
        encode_png(b"123", 2, 2)
