"""Files of proposals, boxes that may hold an object: NumPy's `.npz`, an array an image, under the image's id.

`VOC2007/000012` -> (n, 4): x1, y1, x2, y2, pixels of the original image from 0, half-open.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Self
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

FILE = "proposals.npz"
MAX_BOXES = 100_000
"""Of an image. The densest searches in use make some ten thousand; an array may not claim any size it likes."""
MAX_HEADER = 10_000
_MAX_ARRAY = MAX_HEADER + MAX_BOXES * 4 * 8
_SUFFIX = ".npy"

FloatBoxes = NDArray[np.float32]
"""(n, 4)."""


class ProposalsReader:
    """A file of proposals, opened. Arrays are read one at a time; nothing in them is ever unpickled."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or ValueError for a file of another kind."""
        try:
            self._file = ZipFile(path)
        except BadZipFile as error:
            raise ValueError("it is no .npz file, or a damaged one") from error
        except (NotImplementedError, UnicodeError) as error:
            raise ValueError(f"it can't be unpacked: {error}") from error
        infos = [info for info in self._file.infolist() if info.filename.endswith(_SUFFIX)]
        self._members = {info.filename.removesuffix(_SUFFIX): info for info in infos}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def ids(self) -> Iterable[str]:
        """Of the images that have an array, in the file's order."""
        return self._members.keys()

    def read(self, id: str) -> NDArray[Any] | None:
        """Numbers (n, 4), n <= `MAX_BOXES`; None where the image has no array. Raises ValueError for other arrays."""
        info = self._members.get(id)
        if info is None:
            return None
        try:
            content = self._content(info)
            shape, fortran, dtype = _header(content)
        except Exception as error:  # zipfile, its decompressors and NumPy raise whatever broken bytes lead them to
            raise ValueError(f"its array is damaged: {error}") from error
        return _numbers(content, shape, fortran, dtype)

    def _content(self, info: ZipInfo) -> IO[bytes]:
        # To the file's end, where its checksum is looked at; never more, whatever a header says.
        with self._file.open(info) as packed:
            return io.BytesIO(packed.read(_MAX_ARRAY + 1))


def _header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(content)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"arrays in format {version[0]}.{version[1]} hold no plain numbers")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(content, max_header_size=MAX_HEADER)


def _numbers(content: IO[bytes], shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.hasobject:
        raise ValueError("its array holds pickled objects, which are never read")
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ValueError(f"its array is one of {dtype}, not of numbers")
    if shape == (0,):  # what NumPy makes of an empty list
        return np.zeros((0, 4), dtype)
    if len(shape) != 2 or shape[1] != 4:
        raise ValueError(f"its array has the shape {shape}, not (n, 4)")
    if shape[0] > MAX_BOXES:
        raise ValueError(f"its array holds more than {MAX_BOXES:,} boxes")
    values = content.read()
    if len(values) != shape[0] * 4 * dtype.itemsize:
        raise ValueError("its array is damaged: it has more or fewer numbers than it says")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if fortran else "C")


class ProposalsWriter:
    """Makes a file of proposals, image by image; equal proposals in equal order make equal bytes."""

    def __init__(self, path: Path) -> None:
        self._file = ZipFile(path, "w")

    def add(self, id: str, boxes: FloatBoxes) -> None:
        with self._file.open(f"{id}{_SUFFIX}", "w") as member:
            np.lib.format.write_array(member, boxes, allow_pickle=False)

    def close(self) -> None:
        self._file.close()
