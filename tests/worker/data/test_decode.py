import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.worker.data.drawing import QUARTERS, corners, encoded, noise, quarters
from worker.data.decode import ImageProblem, decode, decode_whole

MANY = 10**8
FORMS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how a camera that writes it stores an upright scene."""


def square(content: bytes, side: int = 32) -> np.ndarray:
    return decode(content, side, MANY).pixels


def exif_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def deep(values: np.ndarray, form: str = "TIFF") -> bytes:
    return encoded(Image.fromarray(values), form)


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_its_colours(form: str) -> None:
    pixels = square(encoded(quarters(), form))
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(corners(pixels), list(QUARTERS.values()), atol=3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_pixel_kind_shows_white_on_black(mode: str) -> None:
    grey = np.zeros((40, 40), np.uint8)
    grey[:, 20:] = 255
    image = {
        "I;16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "I": lambda: Image.fromarray(grey.astype(np.int32) * 257),
        "F": lambda: Image.fromarray(grey.astype(np.float32) / 255),
    }.get(mode, lambda: Image.fromarray(grey).convert("RGB").convert(mode))()
    assert image.mode == mode
    pixels = square(encoded(image, "TIFF"))
    np.testing.assert_allclose(corners(pixels), [(0,) * 3, (255,) * 3] * 2, atol=1)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_range_not_by_their_content(form: str) -> None:
    assert corners(square(deep(np.full((40, 40), 128 * 257, np.uint16), form)))[0] == (128, 128, 128)


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        (np.full((8, 8), 0.5, np.float32), 128),
        (np.full((8, 8), 100.0, np.float32), 100),
        (np.full((8, 8), 257.0 * 100, np.float32), 100),
        (np.full((8, 8), 100, np.int32), 100),
        (np.full((8, 8), 257 * 100, np.int32), 100),
        (np.full((8, 8), np.nan, np.float32), 0),
    ],
)
def test_values_without_a_known_range_take_the_smallest_that_fits(values: np.ndarray, grey: int) -> None:
    assert corners(square(deep(values)))[0] == (grey,) * 3


def test_values_beyond_every_range_are_stretched() -> None:
    values = np.full((40, 40), -1e6, np.float32)
    values[:, 20:] = 1e6
    assert corners(square(deep(values)))[:2] == [(0,) * 3, (255,) * 3]


def test_twelve_bit_tiff_uses_its_whole_range() -> None:
    assert corners(square(twelve_bit_tiff(8, 4095)))[0] == (255, 255, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(mode: str) -> None:
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (20, 0, 40, 40))
    pixels = square(encoded(image.convert(mode), "PNG"))
    assert corners(pixels)[:2] == [(255,) * 3, (0,) * 3]


def test_a_palette_with_a_transparent_entry_becomes_white_there() -> None:
    image = quarters().quantize(4)
    red = image.getpixel((2, 2))
    assert corners(square(encoded(image, "PNG", transparency=red)))[:2] == [(255,) * 3, QUARTERS["green"]]


def test_a_half_transparent_pixel_is_mixed_with_white() -> None:
    assert corners(square(encoded(Image.new("RGBA", (40, 40), (255, 0, 0, 128)))))[0] == (255, 127, 127)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(form: str, orientation: int) -> None:
    stored = quarters() if orientation == 1 else quarters().transpose(TURNED[orientation])
    pixels = square(encoded(stored, form, exif=exif_orientation(orientation)))
    np.testing.assert_allclose(corners(pixels), list(QUARTERS.values()), atol=3)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_the_original_size_is_that_of_the_upright_image(form: str) -> None:
    image = decode(encoded(noise(0, 60, 40), form, exif=exif_orientation(6)), 32, MANY)
    assert (image.width, image.height) == (40, 60)


def test_a_reduced_jpeg_still_tells_its_original_size() -> None:
    image = decode(encoded(quarters(800), "JPEG"), 32, MANY)
    assert (image.width, image.height) == (800, 800)
    np.testing.assert_allclose(corners(image.pixels), list(QUARTERS.values()), atol=3)


def test_the_centre_is_cut_from_a_long_image() -> None:
    image = Image.new("RGB", (300, 100), (255, 0, 0))
    image.paste((0, 0, 255), (100, 0, 200, 100))
    pixels = square(encoded(image))
    assert (pixels == (0, 0, 255)).all()


@given(width=st.integers(1, 90), height=st.integers(1, 90), side=st.integers(32, 48))
@settings(max_examples=30)
def test_any_size_becomes_the_square_that_resizing_then_cutting_gives(width: int, height: int, side: int) -> None:
    ramp = np.add.outer(np.linspace(0, 100, height), np.linspace(0, 100, width)).astype(np.uint8)
    pixels = square(encoded(Image.fromarray(ramp)), side)
    scale = side / min(width, height)
    whole = Image.fromarray(ramp).resize(
        (max(side, round(width * scale)), max(side, round(height * scale))), Image.Resampling.BICUBIC
    )
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    expected = np.asarray(whole.crop((left, top, left + side, top + side)))
    step = 100 / max(1, min(width, height) - 1) * max(1.0, 1 / scale) + 3
    assert np.abs(pixels[..., 0].astype(int) - expected).max() <= step


def test_only_the_first_frame_of_an_animation_counts() -> None:
    first, second = Image.new("RGB", (40, 40), (255, 0, 0)), Image.new("RGB", (40, 40), (0, 0, 255))
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        pixels = square(encoded(first, form, save_all=True, append_images=[second]))
        np.testing.assert_allclose(corners(pixels)[0], (255, 0, 0), atol=3)


@pytest.mark.parametrize("size", [(40_000, 25_000), (10**9, 1)])
def test_a_billion_pixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageProblem) as problem:
        decode(png_header(*size), 32, 200_000_000)
    assert problem.value.reason == "too_many_pixels"
    assert f"{size[0]} x {size[1]}" in problem.value.detail


def test_the_pixel_limit_is_exact() -> None:
    content = encoded(noise(0, 30, 20))
    assert decode(content, 32, 600).width == 30
    with pytest.raises(ImageProblem, match="30 x 20"):
        decode(content, 32, 599)


def test_the_callers_own_pillow_limit_is_left_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    square(encoded(noise(0)))
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"plain text", encoded(noise(0), "PPM"), encoded(noise(0))[:300]])
def test_what_is_no_whole_image_is_told_as_undecodable(content: bytes) -> None:
    with pytest.raises(ImageProblem) as problem:
        square(content)
    assert problem.value.reason == "undecodable"
    assert problem.value.detail
    assert "0x" not in problem.value.detail


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(max_examples=25)
def test_damaged_files_are_problems_or_images_but_never_crashes(form: str, data: st.DataObject) -> None:
    content = bytearray(encoded(noise(1, 24, 24), form))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    with contextlib.suppress(ImageProblem):
        assert decode(bytes(content), 32, 10**6).pixels.shape == (32, 32, 3)


def test_broken_metadata_does_not_lose_the_image() -> None:
    content = encoded(quarters(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_allclose(corners(square(content)), list(QUARTERS.values()), atol=3)


def png_header(width: int, height: int) -> bytes:
    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def twelve_bit_tiff(side: int, value: int) -> bytes:
    pair = bytes([value >> 4, (value & 15) << 4 | value >> 8, value & 255])
    pixels = pair * (side * side // 2)
    tags = [
        (256, side),
        (257, side),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, side),
        (279, len(pixels)),
    ]
    content = io.BytesIO()
    content.write(struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)))
    for tag, number in tags:
        content.write(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, number))
    content.write(struct.pack("<I", 0))
    return content.getvalue()


def test_a_whole_image_keeps_its_size_and_is_not_turned() -> None:
    image = noise(0, width=40, height=30)
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(decode_whole(encoded(image, exif=exif), 1200), np.asarray(image))
    grey = Image.new("L", (5, 4), 77)
    assert decode_whole(encoded(grey), 20).tolist() == np.full((4, 5, 3), 77).tolist()


def test_a_whole_image_is_refused_for_the_same_reasons() -> None:
    content = encoded(noise(0, width=40, height=30), "JPEG")
    for broken, limit, reason in ((content, 1199, "too_many_pixels"), (content[:300], 1200, "undecodable")):
        with pytest.raises(ImageProblem) as problem:
            decode_whole(broken, limit)
        assert problem.value.reason == reason
