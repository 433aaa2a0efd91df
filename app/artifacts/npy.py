"""Reads one-dimensional `.npy` files without numpy, which the web service does not load."""

import ast
import mmap
from pathlib import Path

MAGIC = b"\x93NUMPY"
ITEM_BYTES = 4


def read_int32(path: Path) -> "memoryview[int]":
    """The file's numbers, mapped, not copied; ValueError where it holds anything else, or is cut."""
    return _body(path, "<i4").cast("i")


def read_float32(path: Path) -> "memoryview[float]":
    """As `read_int32`."""
    return _body(path, "<f4").cast("f")


def _body(path: Path, descr: str) -> "memoryview[int]":
    with path.open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if mapped[:6] != MAGIC:
        raise ValueError(f"{path.name} is no .npy file")
    # Version 1 has a header length of two bytes, later ones of four.
    start = 10 if mapped[6] == 1 else 12
    end = start + int.from_bytes(mapped[8:start], "little")
    header = ast.literal_eval(bytes(mapped[start:end]).decode("latin1"))
    body = mapped[end:]
    if header["descr"] != descr or header["shape"] != (len(body) // ITEM_BYTES,) or len(body) % ITEM_BYTES:
        raise ValueError(
            f"{path.name} holds {header['descr']} {header['shape']} in {len(body)} bytes, not a {descr} row"
        )
    return body
