"""One image file's bytes -> one square of RGB pixels."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from worker.data.store import ProblemReason

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
WHITE = (255, 255, 255, 255)
"""Behind transparent pixels: what a page shows there, and dark line art stays visible."""
REDUCING_GAP = 2
"""Images are first reduced cheaply (JPEGs while decoding) to no less than this many times the side.

Differs from full bicubic filtering by half a grey level on average, at twice the speed on large photographs.
"""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what sets the image upright."""
ORIENTATION_TAG = 0x0112
BITS_PER_SAMPLE_TAG = 258


@dataclass(frozen=True, slots=True)
class DecodedImage:
    pixels: NDArray[np.uint8]
    """(side, side, 3), RGB."""
    width: int
    """Pixels of the original, upright."""
    height: int


class ImageProblem(Exception):
    """This file gives no image; `detail` is a human phrase, the same on every machine."""

    def __init__(self, reason: ProblemReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def decode(content: bytes, side: int, max_pixels: int) -> DecodedImage:
    """Decode, set upright, convert to RGB, resize the shorter side to `side` (bicubic, antialiased), cut the centre.

    The first frame of JPEG, PNG, WebP, BMP, GIF and TIFF files; smaller images are enlarged. The header is checked
    against `max_pixels` before any pixel is decoded. Raises nothing but `ImageProblem`.
    """
    with _problems_named(), _pillow_left_to_us():
        return _decode(content, side, max_pixels)


def decode_whole(content: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """All pixels as the file has them, uint8 (height, width, 3), RGB; raises nothing but `ImageProblem`.

    Not set upright: boxes and masks count the file's own pixels (as torchvision's readers of PASCAL VOC do).
    """
    with _problems_named(), _pillow_left_to_us(), _opened(content, max_pixels) as image:
        image.load()
        return np.array(_on_white(_eight_bit(image)))


@contextmanager
def _problems_named() -> Iterator[None]:
    try:
        yield
    except ImageProblem:
        raise
    except UnidentifiedImageError as error:
        raise ImageProblem("undecodable", "not a JPEG, PNG, WebP, BMP, GIF or TIFF image") from error
    except MemoryError as error:
        raise ImageProblem("undecodable", "not enough memory") from error
    except Exception as error:  # Pillow's decoders raise whatever broken bytes lead them to
        raise ImageProblem("undecodable", _phrase(error)) from error


@contextmanager
def _pillow_left_to_us() -> Iterator[None]:
    """Pillow's own, fixed pixel limit gives way to `max_pixels`; its warnings about odd files don't reach the log."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _decode(content: bytes, side: int, max_pixels: int) -> DecodedImage:
    with _opened(content, max_pixels) as image:
        width, height = image.size
        image.draft(None, (REDUCING_GAP * side, REDUCING_GAP * side))
        image.load()
        orientation = _orientation(image)
        square = _on_white(_centre_square(_eight_bit(image), side))
    if orientation in UPRIGHT:
        square = square.transpose(UPRIGHT[orientation])
    if orientation >= 5:
        width, height = height, width
    return DecodedImage(np.asarray(square), width, height)


@contextmanager
def _opened(content: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The header is read and checked, no pixel decoded yet."""
    if not content:
        raise ImageProblem("undecodable", "the file is empty")
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageProblem("too_many_pixels", f"{width} x {height} pixels, more than {max_pixels:,}")
        yield image


def _orientation(image: Image.Image) -> int:
    """1..8; asked after loading, because Pillow turns TIFF images by itself and then forgets the tag."""
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # broken metadata is no reason to lose a sound image
        return 1
    return orientation if orientation in UPRIGHT else 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image as L, RGB or RGBA."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bit_levels(image))
    wanted = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    if image.mode == wanted:
        return image
    try:
        return image.convert(wanted)
    except ValueError as error:
        raise ImageProblem("unsupported", f"pixels of the kind {image.mode}") from error


def _eight_bit_levels(image: Image.Image) -> NDArray[np.uint8]:
    """Deep grey values (16 or 32 bits, or floats) scaled to 0..255.

    16 and 12 bits have a known range, the same for every image. Wider ones and floats don't say theirs: the smallest
    of 0..1 (floats), 0..255 and 0..65535 that holds all values, else their own extent, is taken (our choice).
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if image.mode.startswith("I;16"):
        return _scaled(values, 0.0, 4095.0 if _is_twelve_bit(image) else 65535.0)
    low, high = float(values.min()), float(values.max())
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    top = next((top for top in ranges if low >= 0 and high <= top), None)
    return _scaled(values, low, high) if top is None else _scaled(values, 0.0, top)


def _is_twelve_bit(image: Image.Image) -> bool:
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(BITS_PER_SAMPLE_TAG) == (12,)


def _scaled(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    span = max(high - low, np.finfo(np.float64).tiny)
    return np.clip((values - low) * (255.0 / span) + 0.5, 0, 255).astype(np.uint8)


def _centre_square(image: Image.Image, side: int) -> Image.Image:
    """Cutting the centre first and resizing only that is the same as resizing the shorter side and then cutting."""
    shorter = min(image.size)
    if image.width != image.height:
        left, top = (image.width - shorter) // 2, (image.height - shorter) // 2
        image = image.crop((left, top, left + shorter, top + shorter))
    return image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _phrase(error: Exception) -> str:
    """The decoder's words, without memory addresses, which differ from run to run."""
    text = re.sub(r"\s*<[^<>]* at 0x[0-9a-f]+>", "", str(error)).strip() or type(error).__name__
    return text[:200]
