"""The proposals that lie with photographs in PASCAL VOC's layout, checked against the photographs.

A file that is wrong anywhere is refused whole, naming the image: corners in another order or boxes of a rescaled image
are mistakes of all boxes, and an evaluation would only show a low figure.
"""

import os
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from worker.config.reasons import Reason
from worker.data.proposals import FILE, FloatBoxes, ProposalsReader
from worker.data.voc import ROUNDING, Devkit, is_within, shown, why_not
from worker.stages.contract import StageError


def find_proposals(devkit: Devkit, named: str | None) -> Path | None:
    """The file `named`, a path below the source; else the one `proposals.npz` there is, if any.

    It may lie at the top, beside the VOC20xx folders or in one of them. Raises `StageError(bad_config)` where the named
    one isn't there, or where several lie there and none is named.
    """
    if named is not None:
        return _named(devkit.root, named)
    folders = [folder.path for folder in devkit.folders]
    parents = [path.parent for path in folders if path != devkit.root]
    found = [place / FILE for place in dict.fromkeys([devkit.root, *parents, *folders]) if (place / FILE).is_file()]
    if len(found) > 1:
        names = " and ".join(f"'{shown(devkit.root, path)}'" for path in found)
        raise StageError(Reason.bad_config, f"There are several files of proposals, {names}: name one as `proposals`.")
    return found[0] if found else None


def _named(root: Path, named: str) -> Path:
    path = root / named
    if Path(named).is_absolute() or not is_within(root, path) or not path.is_file():
        raise StageError(Reason.bad_config, f"There is no file '{named}' of proposals in '{root.name}'.")
    return path


class GivenProposals:
    """Of the images of a devkit; without a file, no image has any."""

    def __init__(self, devkit: Devkit, path: Path | None) -> None:
        """Raises `StageError(bad_labels)` where the file can't be read, or names no image at all."""
        self.name = "" if path is None else shown(devkit.root, path)
        """The file's, below the source; empty without one."""
        self._reader = None if path is None else self._opened(devkit.root, path)
        self.ids = [] if self._reader is None else list(self._reader.ids)
        known = {f"{folder.name}/{stem}" for folder in devkit.folders for stem in folder.images}
        if self._reader is not None and known.isdisjoint(self.ids):
            has = f"'{self.ids[0]}'" if self.ids else "nothing"
            raise self._refused(f"name none of the images: these are called as '{min(known)}', the file has {has}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._reader is not None:
            self._reader.close()

    def of(self, id: str, size: tuple[int, int]) -> FloatBoxes | None:
        """The boxes of an image of `size` (width, height), inside it; None where the file doesn't name the image.

        Raises `StageError(bad_labels)` for what is no box of the image.
        """
        if self._reader is None:
            return None
        try:
            numbers = self._reader.read(id)
            return None if numbers is None else inside(numbers, size)
        except ValueError as error:
            raise self._refused(f"are no good for the image {id}: {error}") from error

    def _opened(self, root: Path, path: Path) -> ProposalsReader:
        try:
            if not is_within(root, path):
                raise ValueError("it is a link that leaves the source")
            return ProposalsReader(Path(os.path.realpath(path)))
        except (OSError, ValueError) as error:
            why = why_not(error) if isinstance(error, OSError) else str(error)
            raise self._refused(f"can't be read: {why}") from error

    def _refused(self, why: str) -> StageError:
        return StageError(Reason.bad_labels, f"The proposals in {self.name} {why}.")


def inside(numbers: NDArray[np.number], size: tuple[int, int]) -> FloatBoxes:
    """Boxes (n, 4) as float32, those that reach out of an image of `size` (width, height) by rounding clipped.

    Raises ValueError, which names the first box (from 0) that isn't finite, has no area or reaches out by more.
    """
    with np.errstate(over="ignore"):
        boxes = numbers.astype(np.float32)
    _refuse(~np.asarray(np.isfinite(boxes).all(1)), boxes, "is not finite")
    _refuse(~_have_area(boxes), boxes, "has no area (wanted is x1, y1, x2, y2 with x1 < x2 and y1 < y2)")
    clipped = boxes.clip(0, np.array([*size, *size], np.float32))
    outside = np.asarray((np.abs(clipped - boxes) > ROUNDING).any(1)) | ~_have_area(clipped)
    _refuse(outside, boxes, f"reaches out of the image of {size[0]} x {size[1]}")
    return clipped


def _have_area(boxes: FloatBoxes) -> NDArray[np.bool_]:
    return np.asarray((boxes[:, :2] < boxes[:, 2:]).all(1))


def _refuse(wrong: NDArray[np.bool_], boxes: FloatBoxes, why: str) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(f"box {first} ({', '.join(f'{value:g}' for value in boxes[first])}) {why}")
