"""Single images of an image store as PNG, without an imaging library."""

import struct
import zlib
from pathlib import Path


def read_png(folder: Path, side: int, index: int) -> bytes:
    """Image `index` of the store in `folder`, whose images are `side` pixels square (RGB, 8 bits)."""
    size = side * side * 3
    with (folder / "images.u8").open("rb") as file:
        file.seek(index * size)
        return encode_png(file.read(size), side, side)


def encode_png(rgb: bytes, width: int, height: int) -> bytes:
    """Row-major 8-bit RGB as a PNG."""
    stride = width * 3
    if len(rgb) != stride * height:
        raise ValueError(f"{len(rgb)} bytes are not {width} x {height} RGB pixels")
    # Each row begins with its filter type: 0, none.
    rows = b"".join(b"\0" + rgb[start : start + stride] for start in range(0, len(rgb), stride))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
