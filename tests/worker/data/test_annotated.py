import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.worker.data.drawing import encoded
from worker.config.reasons import Reason
from worker.data.annotated import (
    AnnotatedStore,
    AnnotatedStoreWriter,
    Annotation,
    AnnotationProblem,
    decode_mask,
    write_annotated_store,
)
from worker.stages.contract import StageError

CAT = Annotation("cat", (0.0, 1.0, 3.5, 4.0))
DOG = Annotation("dog", (2.0, 2.0, 9.0, 9.0), difficult=True)
BOXES = np.array([[0, 0, 4, 4], [1, 2, 9, 9.5]], np.float32)
SETS = {
    "VOC2007/Main/trainval": ["VOC2007/1", "VOC2007/2"],
    "VOC2012/Main/trainval": ["VOC2012/a"],
    "VOC2012/Main/train": ["VOC2012/a"],
    "VOC2012/Segmentation/train": ["VOC2012/b"],
    "mine": ["VOC2012/a", "VOC2007/1"],
}


def pictures() -> dict[str, NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    ids = ["VOC2007/1", "VOC2007/2", "VOC2012/a", "VOC2012/b"]
    return {id: generator.integers(0, 256, (10 + n, 20, 3), dtype=np.uint8) for n, id in enumerate(ids)}


def mask() -> NDArray[np.uint8]:
    return np.random.default_rng(1).choice(np.array([0, 1, 255], np.uint8), (13, 20))


@pytest.fixture
def store(tmp_path: Path) -> AnnotatedStore:
    objects = {"VOC2007/1": [CAT, DOG], "VOC2007/2": []}
    write_annotated_store(tmp_path, pictures(), SETS, objects, {"VOC2012/b": mask()}, ["background", "cat"])
    return AnnotatedStore.open(tmp_path)


def test_what_was_written_is_read_back(store: AnnotatedStore) -> None:
    assert [store.id(image) for image in range(len(store))] == list(pictures())
    assert (store.classes, store.mask_classes) == (["cat", "dog"], ["background", "cat"])
    for image, pixels in enumerate(pictures().values()):
        assert store.size(image) == (20, 10 + image)
        read = store.read(image)
        assert (read.dtype, read.is_contiguous()) == (torch.uint8, True)
        np.testing.assert_array_equal(read.numpy(), pixels.transpose(2, 0, 1))
    assert store.objects(0) == [CAT, DOG]
    read_mask = store.mask(3)
    assert read_mask is not None
    np.testing.assert_array_equal(read_mask.numpy(), mask())


def test_no_list_of_objects_is_another_thing_than_an_empty_one(store: AnnotatedStore) -> None:
    assert [store.has_objects(image) for image in range(4)] == [True, True, False, False]
    assert [store.objects(image) for image in (1, 2)] == [[], []]
    assert [store.has_mask(image) for image in range(4)] == [False, False, False, True]
    assert store.mask(0) is None


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("VOC2007/Main/trainval", [0, 1]),
        ("VOC2007/trainval", [0, 1]),
        ("2007/trainval", [0, 1]),
        ("trainval", [0, 1, 2]),
        ("Main/trainval", [0, 1, 2]),
        ("train", [2]),
        ("Segmentation/train", [3]),
        ("mine", [2, 0]),
        ("mine + 2007/trainval", [2, 0, 1]),
    ],
)
def test_sets_are_found_by_as_much_of_their_name_as_is_said(
    store: AnnotatedStore, name: str, images: list[int]
) -> None:
    assert store.images(name) == images


def test_a_bare_name_means_the_list_that_fits_the_purpose(store: AnnotatedStore) -> None:
    assert store.images("train", "Segmentation") == [3]
    assert store.images("trainval", "Segmentation") == [0, 1, 2]


@pytest.mark.parametrize("name", ["nothing", "2008/trainval", "trainval+nothing", ""])
def test_a_set_that_is_not_there_is_refused_with_those_that_are(store: AnnotatedStore, name: str) -> None:
    with pytest.raises(StageError, match="VOC2012/Segmentation/train") as error:
        store.images(name)
    assert error.value.reason is Reason.bad_config


def test_the_digest_is_that_of_everything_that_matters(tmp_path: Path) -> None:
    other_sets = SETS | {"mine": ["VOC2012/a"]}
    other_pixels = pictures() | {"VOC2007/1": np.zeros((10, 20, 3), np.uint8)}
    written = [
        write_annotated_store(tmp_path / "1", pictures(), SETS, {"VOC2007/1": [CAT]}),
        write_annotated_store(tmp_path / "2", pictures(), SETS, {"VOC2007/1": [CAT]}),
        write_annotated_store(tmp_path / "3", pictures(), SETS, {"VOC2007/1": [DOG]}),
        write_annotated_store(tmp_path / "4", pictures(), other_sets, {"VOC2007/1": [CAT]}),
        write_annotated_store(tmp_path / "5", other_pixels, SETS, {"VOC2007/1": [CAT]}),
        *(
            write_annotated_store(tmp_path / name, pictures(), SETS, {"VOC2007/1": [CAT]}, proposals=boxes)
            for name, boxes in {
                "6": {"VOC2007/1": BOXES},
                "7": {"VOC2007/1": BOXES + 1},
                "8": {"VOC2007/2": BOXES},
            }.items()
        ),
    ]
    first, again, *others = [facts["digest"] for facts in written]
    assert first == again
    assert len({first, *others}) == 7


def test_facts_count_objects_masks_sets_and_problems(tmp_path: Path) -> None:
    with AnnotatedStoreWriter(tmp_path) as writer:
        writer.add("1", b"bytes", (3, 2), [CAT, CAT], b"mask")
        writer.propose("1", BOXES)
        writer.skip(AnnotationProblem("a.xml", "bad_box", "no area"))
        facts = writer.finish({"train": ["1"]}, ["background", "cat"])
    facts.pop("digest")
    assert facts == {
        "count": 1,
        "classes": ["cat"],
        "objects": {"cat": 2},
        "masks": 1,
        "mask_classes": ["background", "cat"],
        "proposals": 1,
        "problems": {"bad_box": 1},
        "sets": {"train": 1},
    }
    problem = json.loads((tmp_path / "problems.jsonl").read_text())
    assert problem == {"path": "a.xml", "reason": "bad_box", "detail": "no area"}
    assert AnnotatedStore.open(tmp_path).problems == {"bad_box": 1}


def test_proposals_are_read_back_of_the_images_that_have_them(tmp_path: Path, store: AnnotatedStore) -> None:
    assert (store.proposed, store.proposals([0, 1])) == (0, [None, None])
    write_annotated_store(tmp_path / "2", pictures(), SETS, proposals={"VOC2012/a": BOXES, "VOC2007/1": BOXES[:0]})
    proposed = AnnotatedStore.open(tmp_path / "2")
    one, none, other = proposed.proposals([2, 1, 0])
    assert (proposed.proposed, none) == (2, None)
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one, BOXES)
    assert other.shape == (0, 4)


def test_stores_from_before_there_were_proposals_have_none(store: AnnotatedStore) -> None:
    facts = json.loads((store.path / "annotations.json").read_text())
    del facts["proposals"]
    (store.path / "annotations.json").write_text(json.dumps(facts))
    assert AnnotatedStore.open(store.path).proposals([0]) == [None]


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_damaged_proposals_are_said_so(tmp_path: Path, damage: str) -> None:
    write_annotated_store(tmp_path, pictures(), SETS, proposals={"VOC2012/a": BOXES})
    path = tmp_path / "proposals.npz"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-30])
    with pytest.raises(StageError, match="The store's proposals can't be read") as error:
        AnnotatedStore.open(tmp_path).proposals([2])
    assert error.value.reason is Reason.artifact_corrupt


def test_proposals_are_of_an_image_that_is_there_and_come_once(tmp_path: Path) -> None:
    with AnnotatedStoreWriter(tmp_path) as writer:
        writer.add("1", b"", (1, 1))
        writer.propose("1", BOXES)
        for id in ("1", "2"):
            with pytest.raises(ValueError, match=f"the image {id} is not there, or has its proposals already"):
                writer.propose(id, BOXES)


def test_an_image_is_there_once(tmp_path: Path) -> None:
    with AnnotatedStoreWriter(tmp_path) as writer:
        writer.add("1", b"", (1, 1))
        with pytest.raises(ValueError, match="1 is there twice"):
            writer.add("1", b"", (1, 1))


@pytest.mark.parametrize("name", ["annotations.json", "index.jsonl", "images.bin", "masks.bin"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_store_is_not_opened(store: AnnotatedStore, name: str, damage: str) -> None:
    path = store.path / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StageError) as error:
        AnnotatedStore.open(store.path)
    assert error.value.reason is Reason.artifact_corrupt


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no whole PNG"),
        (encoded(Image.new("L", (4, 4)), "JPEG"), "no whole PNG"),
        (encoded(Image.new("RGB", (4, 4))), "RGB"),
        (encoded(Image.new("1", (4, 4))), "1, not indices"),
        (encoded(Image.new("I;16", (4, 4))), "I;16"),
        (encoded(Image.fromarray(mask()))[:-60], "no whole PNG"),
    ],
)
def test_what_is_no_map_of_indices_is_no_mask(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_mask(content)


def test_grey_levels_that_a_reader_would_scale_are_no_mask() -> None:
    indices = Image.new("P", (4, 4), 1)
    indices.putpalette([0, 0, 0, 255, 255, 255])
    assert set(decode_mask(encoded(indices, bits=2)).flatten()) == {1}
    with pytest.raises(ValueError, match="fewer than 8 bits"):
        decode_mask(two_bit_grey())


def two_bit_grey() -> bytes:
    """A PNG of 4 x 1 grey levels of two bits each: 0, 1, 2, 3."""
    parts = {b"IHDR": struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0), b"IDAT": zlib.compress(b"\0\x1b"), b"IEND": b""}
    chunks = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
