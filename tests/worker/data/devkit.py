"""A VOCdevkit drawn for the tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.worker.data.drawing import encoded, noise

Corners = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax as VOC writes them: from 1, the last pixel included."""
PALETTE = [value for index in range(256) for value in (index, 255 - index, index * 7 % 256)]


def xml(objects: Sequence[tuple[str, Corners]], size: tuple[int, int] | None = (40, 30), difficult: int = 0) -> str:
    said = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return (
        f"<annotation><folder>VOC2007</folder>{said}{''.join(_object(*one, difficult) for one in objects)}</annotation>"
    )


def _object(name: str, corners: Corners, difficult: int) -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{corner}>{value:g}</{corner}>" for corner, value in zip(names, corners, strict=True))
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox>{part}</object>"


def mask_png(indices: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette(PALETTE)
    return encoded(image)


class DrawnFolder:
    """One VOC20xx folder, made file by file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers: dict[str, int] = {}

    def image(self, stem: str, size: tuple[int, int] = (40, 30)) -> bytes:
        """Its bytes, a JPEG, different for every stem."""
        number = self._numbers.setdefault(stem, len(self._numbers))
        return self.file(f"JPEGImages/{stem}.jpg", encoded(noise(number, *size), "JPEG"))

    def annotation(self, stem: str, objects: Sequence[tuple[str, Corners]], **options: object) -> None:
        self.file(f"Annotations/{stem}.xml", xml(objects, **options).encode())  # type: ignore[arg-type]

    def mask(self, stem: str, indices: NDArray[np.uint8]) -> None:
        self.file(f"SegmentationClass/{stem}.png", mask_png(indices))

    def sets(self, lists: Mapping[str, Sequence[str]]) -> None:
        """`Main/train` -> lines."""
        for name, lines in lists.items():
            self.file(f"ImageSets/{name}.txt", "".join(f"{line}\n" for line in lines).encode())

    def file(self, name: str, content: bytes) -> bytes:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return content


def drawn_devkit(root: Path) -> tuple[DrawnFolder, DrawnFolder]:
    """VOC2007 with boxes (1, 2 to learn, 3 to judge), VOC2012 with boxes and masks (a, b to learn, c to judge)."""
    one, other = DrawnFolder(root / "VOC2007"), DrawnFolder(root / "VOC2012")
    for stem in ("1", "2", "3"):
        one.image(stem)
        one.annotation(stem, [("cat", (1, 1, 20, 10)), ("dog", (11, 11, 40, 30))])
    one.sets({"Main/trainval": ["1", "2"], "Main/test": ["3"], "Main/cat_trainval": ["1  1", "2 -1"]})
    for number, stem in enumerate(("a", "b", "c")):
        other.image(stem)
        other.annotation(stem, [("person", (5, 5, 8, 9))])
        mask = np.zeros((30, 40), np.uint8)
        mask[5:20, 5:30] = 15
        mask[20:25, 5 + number] = 255
        other.mask(stem, mask)
    other.sets({"Main/train": ["a", "b"], "Segmentation/train": ["b"], "Segmentation/val": ["c"]})
    (root / "my_train.txt").write_text("VOC2007/1\nVOC2012/a\n")
    (root / "classes.txt").write_text("cat\ndog\n")
    return one, other
