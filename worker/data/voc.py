"""Reader of PASCAL VOC's layout: a VOCdevkit, or one VOC20xx folder.

    VOC2007/JPEGImages/000012.jpg
    VOC2007/Annotations/000012.xml                  objects with boxes
    VOC2007/SegmentationClass/000012.png            class indices, 255 = void
    VOC2007/ImageSets/Main/trainval.txt             an image's name a line
    VOC2007/ImageSets/Segmentation/val.txt
    my_train.txt                                    beside the folders: `VOC2007/000012` a line, over several folders
    proposals.npz                                   boxes that may hold an object, see `worker/data/voc_proposals.py`

What is broken for one image is listed and left out: its sets then lack it, and everybody can read by how much. What
makes the whole folder another layout, or a list unreadable, is an error.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from worker.config.reasons import Reason
from worker.data.annotated import BACKGROUND, Annotation, AnnotationProblem, AnnotationReason, decode_mask
from worker.stages.contract import StageError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""In the order of the masks' indices, from 1."""
IMAGES, ANNOTATIONS, MASKS, SETS = "JPEGImages", "Annotations", "SegmentationClass", "ImageSets"
CLASS_NAMES = "class_names.txt"
"""May lie at the top or in a folder: names of the masks' indices from 0, a line each (as labelme writes it)."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
DEPTH = 3
"""Levels below the source at which the folders are looked for: archives wrap them."""
MAX_TEXT = 16 << 20
"""Bytes of a list or an annotation; a larger file is none."""
MAX_IMAGE = 1 << 30
"""Bytes of an image or a mask."""
ROUNDING = 1.0
"""Pixels by which a box may reach out unmentioned: some tools count from 0, and rescaled boxes are rounded."""


@dataclass(frozen=True)
class VocFolder:
    name: str
    path: Path
    images: dict[str, Path]
    """Stem -> file, sorted."""


@dataclass
class Devkit:
    """Everything there is, nothing opened but the lists."""

    root: Path
    folders: list[VocFolder]
    sets: dict[str, list[str]]
    """`VOC2007/Main/trainval`, or the bare name of a list at the top -> ids `VOC2007/000012`, as listed."""
    class_names: list[str] = field(default_factory=list)
    """Of the masks' indices where the folder says them."""
    problems: list[AnnotationProblem] = field(default_factory=list)


def find_devkit(root: Path) -> Devkit:
    """Finds the folders and reads the lists. Raises `StageError` with empty_source or bad_labels."""
    parents = _voc_parents(root)
    problems: list[AnnotationProblem] = []
    folders = [VocFolder(path.name, path, _images(root, path, problems)) for path in parents]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise StageError(Reason.bad_labels, f"Several folders are called '{max(names, key=names.count)}'.")
    known = {f"{folder.name}/{stem}" for folder in folders for stem in folder.images}
    if not known:
        raise StageError(Reason.empty_source, f"'{root.name}' holds no JPEG or PNG image in {IMAGES}.")
    sets = dict(_sets(root, folders, known))
    if not sets:
        raise StageError(Reason.bad_labels, f"'{root.name}' has no image set: {SETS}/Main/<name>.txt lists images.")
    return Devkit(root, folders, sets, _class_names(root, parents), problems)


def _voc_parents(root: Path) -> list[Path]:
    for depth in range(DEPTH + 1):
        found = sorted(
            path.parent for path in root.glob("*/" * depth + IMAGES) if path.is_dir() and _is_shown(root, path)
        )
        if found:
            return found
    raise StageError(
        Reason.empty_source,
        f"'{root.name}' is not in PASCAL VOC's layout: it has no folder {IMAGES}, nor has any folder in it.",
    )


def _is_shown(root: Path, path: Path) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(root).parts)


def _images(root: Path, folder: Path, problems: list[AnnotationProblem]) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for path in sorted((folder / IMAGES).iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in images:
            detail = f"{images[path.stem].name} has the same name"
            problems.append(AnnotationProblem(shown(root, path), "duplicate", detail))
        elif not _is_plain(path.name):
            problems.append(AnnotationProblem(shown(root, path), "unreadable", "the name is not valid UTF-8"))
        else:
            images[path.stem] = path
    return images


def _is_plain(name: str) -> bool:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") == name


def shown(root: Path, path: Path) -> str:
    """A file's path below the source, as problems and messages name it."""
    text = path.relative_to(root).as_posix()
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _sets(root: Path, folders: list[VocFolder], known: set[str]) -> Iterator[tuple[str, list[str]]]:
    for folder in folders:
        for path in sorted((folder.path / SETS).glob("*/*.txt")):
            lines = _lines(root, path)
            # `cat_trainval.txt` says `000012 -1`: which images show a cat, as the annotations do.
            if not all(len(line.split()) > 1 and f"{folder.name}/{line}" not in known for line in lines):
                yield f"{folder.name}/{path.parent.name}/{path.stem}", [f"{folder.name}/{line}" for line in lines]
    names = tuple(f"{folder.name}/" for folder in folders)
    for top in sorted({folder.path.parent for folder in folders if folder.path != root}):
        for path in sorted(top.glob("*.txt")):
            with suppress(StageError):  # whatever text lies there need be no list
                lines = _lines(root, path)
                if lines and all(line.startswith(names) for line in lines):
                    yield path.stem, lines


def _lines(root: Path, path: Path) -> list[str]:
    try:
        text = contained(root, path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"can't be read: {why_not(error)}"
        raise StageError(Reason.bad_labels, f"The list {shown(root, path)} {why}.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _class_names(root: Path, folders: list[Path]) -> list[str]:
    for path in [place / CLASS_NAMES for folder in folders for place in (folder, folder.parent)]:
        if path.is_relative_to(root) and path.is_file():
            names = [name for name in _lines(root, path) if name != "__ignore__"]
            return [BACKGROUND, *names[1:]]
    return []


def contained(root: Path, path: Path, limit: int = MAX_TEXT) -> bytes:
    """The bytes of a file, wherever its links lead below `root`; raises OSError for others and for larger ones."""
    if not is_within(root, path):
        raise OSError("it is a link that leaves the source")
    real = os.path.realpath(path)
    if os.path.getsize(real) > limit:
        raise OSError(f"it has more than {limit:,} bytes")
    return Path(real).read_bytes()


def is_within(root: Path, path: Path) -> bool:
    """Whether a file lies below `root`, wherever its links lead."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def why_not(error: OSError) -> str:
    """In words, without the server's paths."""
    return error.strerror or str(error)


@dataclass
class Objects:
    """What an annotation says of an image; `listed` is None where it says nothing usable."""

    listed: list[Annotation] | None
    problems: list[AnnotationProblem] = field(default_factory=list)


def read_objects(root: Path, folder: VocFolder, stem: str, size: tuple[int, int]) -> Objects:
    """The objects of one image of `size` (width, height), pixels; what is wrong with them is listed, never raised.

    An annotation that doesn't parse, or is for an image of another size, is left out whole. A box without area, or
    with none inside the image, is left out; one that reaches out is clipped, and listed beyond a pixel of rounding.
    """
    path = folder.path / ANNOTATIONS / f"{stem}.xml"
    name = shown(root, path)
    if not os.path.lexists(path):
        return Objects(None)
    try:
        return _boxes_inside(name, _parsed(contained(root, path), size), size)
    except OSError as error:
        return Objects(None, [AnnotationProblem(name, "unreadable", why_not(error))])
    except ElementTree.ParseError as error:
        return Objects(None, [AnnotationProblem(name, "bad_annotation", f"the XML doesn't parse: {error}")])
    except ValueError as error:
        return Objects(None, [AnnotationProblem(name, "bad_annotation", str(error))])


def _parsed(content: bytes, size: tuple[int, int]) -> list[Annotation]:
    """Boxes 0-based and half-open; VOC's are 1-based and name the last pixel too."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("the XML declares a document type, and only plain annotations are read")
    tree = ElementTree.fromstring(content)
    if tree.tag != "annotation":
        raise ValueError(f"the XML's root is <{tree.tag}>, not <annotation>")
    said = tuple(_number(tree, f"size/{side}", 0.0) for side in ("width", "height"))
    if all(said) and said != size:
        raise ValueError(f"it is for an image of {said[0]:g} x {said[1]:g} pixels, but the image has {_by(size)}")
    return [_annotation(found) for found in tree.findall("object")]


def _annotation(found: ElementTree.Element) -> Annotation:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no <name>")
    x1, y1, x2, y2 = (_number(found, f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax"))
    # A box whose first pixel is its last has no area in any of the conventions in use.
    box = (x1 - 1, y1 - 1, x2, y2) if x1 < x2 and y1 < y2 else (x1, y1, x1, y1)
    return Annotation(name, box, _number(found, "difficult", 0.0) != 0)


def _number(element: ElementTree.Element, path: str, default: float | None = None) -> float:
    text = (element.findtext(path) or "").strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"<{path}> is {text!r}, not a number")
    return value


def _boxes_inside(name: str, annotations: list[Annotation], size: tuple[int, int]) -> Objects:
    inside: list[Annotation] = []
    problems: list[AnnotationProblem] = []
    for number, annotation in enumerate(annotations, start=1):
        x1, y1, x2, y2 = annotation.box
        clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(size[0])), min(y2, float(size[1])))
        reach = max(abs(before - after) for before, after in zip(annotation.box, clipped, strict=True))
        where = f"object {number} ({annotation.name}): the box {x1:g}, {y1:g}, {x2:g}, {y2:g}"
        if x1 == x2:
            problems.append(AnnotationProblem(name, "bad_box", f"object {number} ({annotation.name}) has no area"))
        elif clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            problems.append(AnnotationProblem(name, "bad_box", f"{where} lies outside the image of {_by(size)}"))
        else:
            inside.append(annotation._replace(box=clipped))
            if reach > ROUNDING:
                detail = f"{where} reaches out of the image of {_by(size)}"
                problems.append(AnnotationProblem(name, "box_clipped", detail))
    return Objects(inside, problems)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


@dataclass
class Mask:
    """The bytes of an image's mask, or None where it has no usable one."""

    content: bytes | None
    highest: int = 0
    """Of its class indices."""
    problem: AnnotationProblem | None = None


def read_mask(root: Path, folder: VocFolder, stem: str, size: tuple[int, int]) -> Mask:
    """The mask of one image of `size` (width, height); one of another size, or no PNG of indices, is a problem."""
    path = folder.path / MASKS / f"{stem}.png"
    if not os.path.lexists(path):
        return Mask(None)
    reason: AnnotationReason = "bad_mask"
    try:
        content = contained(root, path, MAX_IMAGE)
        indices = decode_mask(content)
        height, width = indices.shape
        if (width, height) != size:
            raise ValueError(f"the mask has {_by((width, height))} pixels, but its image has {_by(size)}")
        return Mask(content, int(indices[indices < 255].max(initial=0)))
    except OSError as error:
        reason, detail = "unreadable", why_not(error)
    except ValueError as error:
        detail = str(error)
    return Mask(None, problem=AnnotationProblem(shown(root, path), reason, detail))


def mask_class_names(said: list[str], object_classes: list[str], highest: int) -> list[str]:
    """The names of mask indices 0 .. at least `highest`.

    As the folder's class_names.txt says; else VOC's 20 where the objects have no other names; else the objects' classes
    in alphabetical order, which is VOC's rule, where they are enough. What has no name is called by its index.
    """
    if said:
        names = said
    elif set(object_classes) <= set(VOC_CLASSES):
        names = [BACKGROUND, *VOC_CLASSES]
    else:
        names = [BACKGROUND, *(sorted(object_classes) if highest <= len(object_classes) else ())]
    return names + [f"class {index}" for index in range(len(names), highest + 1)]
