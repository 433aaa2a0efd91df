"""A matrix written to an .npy file row by row, by one attempt after another."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

MATRIX, MARKER = "features.npy", "rows.json"


class RowFile:
    """`folder/features.npy`, filled from the first row on; `rows.json` says how many rows are safely there.

    Rows go through plain writes, never through a mapping: a full disk is then an `OSError` and not a SIGBUS.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], dtype: type[np.floating[Any]], fingerprint: str) -> None:
        """`fingerprint` names all that the rows depend on; other rows are never taken over."""
        folder.mkdir(parents=True, exist_ok=True)
        self.count = 0
        self._folder = folder
        self._row_bytes = shape[1] * np.dtype(dtype).itemsize
        self._fingerprint = fingerprint
        self._file = (folder / MATRIX).open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()

    def take_over(self, earlier: Path | None) -> None:
        """Copies the rows that an earlier attempt saved, where they are of the same making."""
        rows = self._saved_rows(earlier) if earlier else 0
        if rows and earlier:
            with (earlier / MATRIX).open("rb") as source:
                self._file.seek(0)
                shutil.copyfileobj(source, self._file, 1 << 24)
            self.truncate(rows)
            self.save()

    def append(self, rows: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)

    def truncate(self, rows: int) -> None:
        """Keeps the first `rows` rows."""
        self._file.flush()
        self._file.truncate(self._start + rows * self._row_bytes)
        self._file.seek(0, os.SEEK_END)
        self.count = rows

    def save(self) -> None:
        """All rows so far are on the disk, and the marker says so."""
        self._file.flush()
        os.fsync(self._file.fileno())
        part = self._folder / f"{MARKER}.part"
        part.write_text(json.dumps({"rows": self.count, "fingerprint": self._fingerprint}))
        part.replace(self._folder / MARKER)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        if kind is None:
            (self._folder / MARKER).unlink(missing_ok=True)

    def _saved_rows(self, earlier: Path) -> int:
        try:
            marker = json.loads((earlier / MARKER).read_text())
            whole = (earlier / MATRIX).stat().st_size >= self._start + marker["rows"] * self._row_bytes
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return int(marker["rows"]) if whole and marker["fingerprint"] == self._fingerprint else 0
