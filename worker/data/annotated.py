"""The annotated store: photographs with boxes, masks and named image sets, as PASCAL VOC has them.

`images.bin` and `masks.bin` hold the original files' bytes one after the other, `index.jsonl` a line an image,
`problems.jsonl` a line for whatever was left out, `annotations.json` the facts: classes, image sets, counts, digest;
`proposals.npz`, where such boxes were brought, those of each image (`worker/data/proposals.py`).
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from worker.config.reasons import Reason
from worker.data.decode import ImageProblem, decode_whole
from worker.data.proposals import FILE, FloatBoxes, ProposalsReader, ProposalsWriter
from worker.stages.contract import StageError

VOID = 255
"""In masks: pixels that nobody judges."""
BACKGROUND = "background"
IMAGES, MASKS, INDEX, FACTS, PROBLEMS = "images.bin", "masks.bin", "index.jsonl", "annotations.json", "problems.jsonl"
PNG_BIT_DEPTH = 24
"""Where a PNG says how many bits a sample has."""
Purpose = Literal["Main", "Segmentation"]
"""The folder of image sets that fits: lists for classification and detection, or lists for segmentation."""
AnnotationReason = Literal[
    "undecodable",
    "too_many_pixels",
    "unsupported",
    "unreadable",
    "duplicate",
    "bad_annotation",
    "bad_box",
    "box_clipped",
    "bad_mask",
    "no_image",
    "no_annotation",
    "no_mask",
]


class Annotation(NamedTuple):
    """One object of an image."""

    name: str
    box: tuple[float, float, float, float]
    """(x1, y1, x2, y2), pixels from 0, half-open: x2 - x1 is the width."""
    difficult: bool = False


@dataclass(frozen=True, slots=True)
class AnnotationProblem:
    """What is not in the store, and why."""

    path: str
    reason: AnnotationReason
    detail: str


@dataclass(frozen=True, slots=True)
class IndexLine:
    """A line of the index."""

    id: str
    """`VOC2007/000012`."""
    width: int
    height: int
    offset: int
    """Of the image's bytes in `images.bin`."""
    bytes: int
    sha256: str
    objects: list[Annotation] | None
    """None where the image has no list of objects, which is not the same as an empty one."""
    mask_offset: int = 0
    mask_bytes: int = 0
    """0 without a mask."""
    mask_sha256: str | None = None


@dataclass(frozen=True)
class AnnotatedStore:
    """A finished store, opened for reading; images and masks are read one at a time, from any thread or process."""

    path: Path
    digest: str
    classes: list[str]
    """Of the objects, sorted."""
    mask_classes: list[str]
    """Name of every index of the masks, `background` first; empty without masks."""
    sets: dict[str, list[int]]
    """`VOC2007/Main/trainval` -> images; lists at the top of the folder by their bare name."""
    problems: dict[str, int]
    """Reason -> how much was left out for it when the photographs were registered."""
    proposed: int
    """Images with proposals, of which there may be none."""
    lines: list[IndexLine]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises `StageError(artifact_corrupt)` where the directory is no whole store."""
        try:
            facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
            lines = [_parsed(line) for line in (path / INDEX).read_text(encoding="utf-8").splitlines()]
            if len(lines) != facts["count"]:
                raise ValueError(f"it lists {len(lines)} images but says it holds {facts['count']}")
            _check_size(path / IMAGES, sum(line.bytes for line in lines))
            _check_size(path / MASKS, sum(line.mask_bytes for line in lines))
            known = {name: facts[name] for name in ("digest", "classes", "mask_classes", "sets", "problems")}
            return cls(path=path, lines=lines, proposed=facts.get("proposals", 0), **known)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StageError(Reason.artifact_corrupt, f"The annotated store can't be read: {error}.") from error

    def __len__(self) -> int:
        return len(self.lines)

    def images(self, set_name: str, purpose: Purpose = "Main") -> list[int]:
        """The images of one or several sets joined by `+`, each once, in the lists' order.

        `VOC2007/Main/trainval` is that list; `VOC2007/trainval` (or `2007/trainval`) the list of that folder;
        `Main/trainval`, or a bare `trainval`, the lists of all folders. Where both kinds have the name, `purpose`
        decides. Raises `StageError(bad_config)` for a name that isn't there.
        """
        found = [index for name in set_name.split("+") for index in self._set(name.strip(), purpose)]
        return list(dict.fromkeys(found))

    def id(self, image: int) -> str:
        return self.lines[image].id

    def size(self, image: int) -> tuple[int, int]:
        """(width, height), pixels."""
        return self.lines[image].width, self.lines[image].height

    def has_objects(self, image: int) -> bool:
        """Whether somebody listed the image's objects, be it an empty list."""
        return self.lines[image].objects is not None

    def objects(self, image: int) -> list[Annotation]:
        return list(self.lines[image].objects or ())

    def read(self, image: int) -> Tensor:
        """uint8 (3, height, width), RGB: the file's own pixels, as its annotations count them."""
        line = self.lines[image]
        try:
            pixels = decode_whole(_slice(self.path / IMAGES, line.offset, line.bytes), line.width * line.height)
        except ImageProblem as problem:
            raise StageError(Reason.artifact_corrupt, f"The image {line.id} can't be read: {problem}.") from problem
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def has_mask(self, image: int) -> bool:
        return self.lines[image].mask_bytes > 0

    def mask(self, image: int) -> Tensor | None:
        """uint8 (height, width): indices of `mask_classes`, 255 = void; None where the image has no mask."""
        line = self.lines[image]
        if line.mask_bytes == 0:
            return None
        return torch.from_numpy(decode_mask(_slice(self.path / MASKS, line.mask_offset, line.mask_bytes)))

    def proposals(self, images: Sequence[int]) -> list[FloatBoxes | None]:
        """Float32 (n, 4) of each: x1, y1, x2, y2, inside the image; None for an image that none were brought for."""
        if self.proposed == 0:
            return [None] * len(images)
        try:
            with ProposalsReader(self.path / FILE) as file:
                return [file.read(self.id(image)) for image in images]
        except (OSError, ValueError) as error:
            raise StageError(Reason.artifact_corrupt, f"The store's proposals can't be read: {error}.") from error

    def _set(self, name: str, purpose: Purpose) -> list[int]:
        if name in self.sets:
            return self.sets[name]
        *folders, last = name.split("/")
        fitting = [key for key in self.sets if _fits(key, folders, last)]
        preferred = [key for key in fitting if f"/{purpose}/" in key]
        if not fitting:
            known = ", ".join(sorted(self.sets))
            raise StageError(Reason.bad_config, f"There is no image set '{name}'; known: {known}.")
        return [index for key in preferred or fitting for index in self.sets[key]]


def _fits(key: str, folders: Sequence[str], name: str) -> bool:
    """Whether `VOC2007/Main/trainval` is meant by `folders` (any of `VOC2007`, `2007`, `Main`) and `name`."""
    *parts, last = key.split("/")
    names = {*parts, *(part.removeprefix("VOC") for part in parts)}
    return last == name and set(folders) <= names


def _parsed(text: str) -> IndexLine:
    line = json.loads(text)
    if line["objects"] is not None:
        line["objects"] = [Annotation(name, tuple(box), difficult) for name, box, difficult in line["objects"]]
    return IndexLine(**line)


def _check_size(path: Path, wanted: int) -> None:
    if path.stat().st_size != wanted:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, not {wanted}")


def _slice(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def decode_mask(content: bytes) -> NDArray[np.uint8]:
    """The class indices of a mask, uint8 (height, width). Raises ValueError where the file isn't one."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.mode not in ("P", "L"):
                raise ValueError(f"its pixels are {image.mode}, not indices of a palette or grey levels")
            if image.mode == "L" and content[PNG_BIT_DEPTH] < 8:
                raise ValueError("its grey levels have fewer than 8 bits, which reading would scale")
            return np.array(image)
    except ValueError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever broken bytes lead them to
        raise ValueError(f"it is no whole PNG: {str(error).splitlines()[0]}") from error


class AnnotatedStoreWriter:
    """Makes a store in the directory `path`, image by image. It exists once `finish` has written `annotations.json`."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.positions: dict[str, int] = {}
        """Id -> image, of the images added so far."""
        self._images = (path / IMAGES).open("wb")
        self._masks = (path / MASKS).open("wb")
        self._index = (path / INDEX).open("w", encoding="utf-8")
        self._problems = (path / PROBLEMS).open("w", encoding="utf-8")
        self._digest = hashlib.sha256(b"annotated\n")
        self._objects: dict[str, int] = {}
        self._problem_counts: dict[str, int] = {}
        self._masked = 0
        self._proposals: ProposalsWriter | None = None
        self._proposed: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(
        self,
        id: str,
        content: bytes,
        size: tuple[int, int],
        objects: Sequence[Annotation] | None = None,
        mask: bytes | None = None,
    ) -> None:
        """Append an image: its file's bytes, (width, height), its objects, its mask's bytes (PNG)."""
        line = IndexLine(
            id=id,
            width=size[0],
            height=size[1],
            offset=self._images.tell(),
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            objects=None if objects is None else list(objects),
            mask_offset=self._masks.tell(),
            mask_bytes=len(mask or b""),
            mask_sha256=None if mask is None else hashlib.sha256(mask).hexdigest(),
        )
        self._images.write(content)
        self._masks.write(mask or b"")
        self._list(line)

    def propose(self, id: str, boxes: FloatBoxes) -> None:
        """Keep the proposals (n, 4) of an image that was added, once; they lie inside it."""
        if id not in self.positions or id in self._proposed:
            raise ValueError(f"the image {id} is not there, or has its proposals already")
        self._proposals = self._proposals or ProposalsWriter(self.path / FILE)
        self._proposals.add(id, boxes)
        self._proposed.add(id)
        self._digest.update(f"proposals {json.dumps(id)} {len(boxes)}\n".encode() + boxes.astype("<f4").tobytes())

    def skip(self, problem: AnnotationProblem) -> None:
        self._problems.write(json.dumps(asdict(problem)) + "\n")
        self._problem_counts[problem.reason] = self._problem_counts.get(problem.reason, 0) + 1

    def finish(self, sets: Mapping[str, Sequence[str]], mask_classes: Sequence[str] = ()) -> dict[str, Any]:
        """Write `annotations.json`; returns its facts, of every set only the size. `sets`: name -> ids, all added."""
        indices = {name: [self.positions[id] for id in sets[name]] for name in sorted(sets)}
        self._digest.update(json.dumps([indices, list(mask_classes)]).encode())
        self.close()
        facts: dict[str, Any] = {
            "count": len(self.positions),
            "classes": sorted(self._objects),
            "objects": {name: self._objects[name] for name in sorted(self._objects)},
            "masks": self._masked,
            "mask_classes": list(mask_classes),
            "proposals": len(self._proposed),
            "problems": dict(sorted(self._problem_counts.items())),
            "digest": self._digest.hexdigest(),
        }
        (self.path / FACTS).write_text(json.dumps({**facts, "sets": indices}, indent=1) + "\n", encoding="utf-8")
        return {**facts, "sets": {name: len(members) for name, members in indices.items()}}

    def close(self) -> None:
        for file in (self._images, self._masks, self._index, self._problems, self._proposals):
            if file is not None:
                file.close()

    def _list(self, line: IndexLine) -> None:
        if line.id in self.positions:
            raise ValueError(f"the image {line.id} is there twice")
        self.positions[line.id] = len(self.positions)
        text = json.dumps(asdict(line))
        self._index.write(text + "\n")
        self._digest.update(text.encode())
        self._masked += line.mask_bytes > 0
        for annotation in line.objects or ():
            self._objects[annotation.name] = self._objects.get(annotation.name, 0) + 1


def write_annotated_store(
    path: Path,
    images: Mapping[str, NDArray[np.uint8]],
    sets: Mapping[str, Sequence[str]],
    objects: Mapping[str, Sequence[Annotation]] | None = None,
    masks: Mapping[str, NDArray[np.uint8]] | None = None,
    mask_classes: Sequence[str] = (),
    proposals: Mapping[str, FloatBoxes] | None = None,
) -> dict[str, Any]:
    """Make a store from pixels in memory, as tests and notebooks do; returns its facts.

    `images`: id -> uint8 (height, width, 3); `sets`: name -> ids; `objects`: id -> annotations (an id that is missing
    has no list of objects); `masks`: id -> uint8 (height, width), indices of `mask_classes`; `proposals`: id -> boxes.
    """
    with AnnotatedStoreWriter(path) as writer:
        for id, pixels in images.items():
            height, width = pixels.shape[:2]
            mask = None if masks is None or id not in masks else _png(masks[id])
            writer.add(id, _png(pixels), (width, height), None if objects is None else objects.get(id), mask)
        for id, boxes in (proposals or {}).items():
            writer.propose(id, boxes)
        return writer.finish(sets, mask_classes)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
