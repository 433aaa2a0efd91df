import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.data.devkit import DrawnFolder, drawn_devkit
from tests.worker.data.npz import saved
from tests.worker.evaluation.detectors.drawn import narrow_checkpoint
from worker.config.ingest_voc import IngestVocConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.config.transfer import TransferConfig
from worker.data.annotated import AnnotatedStore
from worker.stages import transfer
from worker.stages.contract import StageError, Stopped
from worker.stages.ingest_voc import IngestVocInputs, IngestVocResult, run
from worker.stages.standalone import LocalContext

BOXES = np.array([[0, 0, 20, 10], [10, 10, 40, 30]], np.float32)
DETECTION = TransferConfig.model_validate(
    {
        "protocol": {
            "protocol": "voc_detection",
            "train_set": "2007/trainval",
            "test_set": "2007/test",
            "scales": [64],
            "test_scale": 64,
            "proposals_source": "given",
            "iterations": 2,
            "width": 16,
        }
    }
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "VOCdevkit"


@pytest.fixture
def context(tmp_path: Path) -> LocalContext:
    return LocalContext(tmp_path / "work")


def result(source: Path, context: LocalContext, **config: object) -> IngestVocResult:
    return run(IngestVocConfig.model_validate(config), IngestVocInputs(source=source), context)


def ingest(source: Path, context: LocalContext, **config: object) -> AnnotatedStore:
    return AnnotatedStore.open(result(source, context, **config).annotations.path)


def refusal(source: Path, context: LocalContext, **config: object) -> StageError:
    with pytest.raises(StageError) as error:
        ingest(source, context, **config)
    assert list(context.workdir.iterdir()) == [], "something was left behind"
    return error.value


def problems(store: AnnotatedStore) -> list[tuple[str, str]]:
    lines = map(json.loads, (store.path / "problems.jsonl").read_text().splitlines())
    return [(line["path"], line["reason"]) for line in lines]


def test_a_devkit_becomes_a_store(source: Path, context: LocalContext) -> None:
    drawn_devkit(source)
    made = result(source, context).annotations
    store = AnnotatedStore.open(made.path)
    assert made.kind is ArtifactKind.annotated_store
    assert made.summary["sets"]["VOC2007/Main/trainval"] == 2
    assert (made.summary["objects"], made.summary["masks"]) == ({"cat": 3, "dog": 3, "person": 3}, 3)
    assert made.summary["problems"] == {}
    assert [store.id(image) for image in store.images("2007/trainval")] == ["VOC2007/1", "VOC2007/2"]
    assert [store.id(image) for image in store.images("val", "Segmentation")] == ["VOC2012/c"]
    assert store.mask_classes[15] == "person"
    assert problems(store) == []


def test_the_images_own_bytes_are_kept(source: Path, context: LocalContext) -> None:
    one, _ = drawn_devkit(source)
    store = ingest(source, context)
    content = (one.path / "JPEGImages" / "1.jpg").read_bytes()
    assert (store.path / "images.bin").read_bytes().startswith(content)
    assert store.read(0).shape == (3, 30, 40)


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_an_archive_gives_the_same_store_as_its_folder(
    source: Path, context: LocalContext, tmp_path: Path, form: str
) -> None:
    drawn_devkit(source)
    saved(source / "proposals.npz", {"VOC2007/1": BOXES})
    archive = tmp_path / f"VOC.{form}"
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in source.rglob("*"):
                packed.write(path, path.relative_to(tmp_path))
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(source, "VOCdevkit")
    other = LocalContext(tmp_path / "other")
    store = ingest(archive, other)
    assert (store.digest, store.proposed) == (ingest(source, context).digest, 1)
    assert [path.name for path in other.workdir.iterdir()] == ["annotations"]


def test_a_folder_without_a_name_is_called_as_its_archive(source: Path, context: LocalContext, tmp_path: Path) -> None:
    drawn_devkit(source)
    archive = tmp_path / "cells.2.tar"
    with tarfile.open(archive, "w") as tar:
        for path in (source / "VOC2007").iterdir():
            tar.add(path, path.name)
    assert ingest(archive, context).id(0) == "cells/1"


def test_whatever_is_broken_for_one_image_is_left_out_counted_and_listed(source: Path, context: LocalContext) -> None:
    one, other = drawn_devkit(source)
    whole = (one.path / "JPEGImages" / "1.jpg").read_bytes()
    one.file("JPEGImages/1.jpg", whole[: len(whole) // 2])
    one.file("Annotations/2.xml", b"<annotation>")
    one.sets({"Main/trainval": ["1", "2", "9"], "Main/all": ["1", "2", "3", "9"]})
    other.mask("b", np.zeros((40, 30), np.uint8))
    other.image("d")
    other.sets({"Main/train": ["a", "d"], "Segmentation/train": ["a", "b", "d"]})
    store = ingest(source, context)
    assert problems(store) == [
        ("VOC2007/JPEGImages/1.jpg", "undecodable"),
        ("VOC2007/Annotations/2.xml", "bad_annotation"),
        ("VOC2012/SegmentationClass/b.png", "bad_mask"),
        ("VOC2007/ImageSets/Main/all.txt", "no_image"),
        ("VOC2012/ImageSets/Main/train.txt", "no_annotation"),
        ("VOC2012/ImageSets/Segmentation/train.txt", "no_mask"),
    ]
    assert {name: [store.id(image) for image in images] for name, images in store.sets.items()} == {
        "VOC2007/Main/all": ["VOC2007/3"],
        "VOC2007/Main/test": ["VOC2007/3"],
        "VOC2012/Main/train": ["VOC2012/a"],
        "VOC2012/Segmentation/train": ["VOC2012/a"],
        "VOC2012/Segmentation/val": ["VOC2012/c"],
        "my_train": ["VOC2012/a"],
    }
    assert "6 problems listed" in context.messages[-1]


def test_images_of_too_many_pixels_are_not_decoded(source: Path, context: LocalContext) -> None:
    one, _ = drawn_devkit(source)
    one.image("1", size=(100, 100))
    store = ingest(source, context, max_pixels=1200)
    assert problems(store) == [("VOC2007/JPEGImages/1.jpg", "too_many_pixels")]


def test_nothing_is_read_from_outside_the_source(source: Path, context: LocalContext, tmp_path: Path) -> None:
    one, _ = drawn_devkit(source)
    outside = tmp_path / "secret.jpg"
    (one.path / "JPEGImages" / "1.jpg").rename(outside)
    (one.path / "JPEGImages" / "1.jpg").symlink_to(outside)
    store = ingest(source, context)
    assert problems(store) == [("VOC2007/JPEGImages/1.jpg", "unreadable")]
    assert str(tmp_path) not in (store.path / "problems.jsonl").read_text()


def test_proposals_are_taken_into_the_store_and_counted(source: Path, context: LocalContext) -> None:
    drawn_devkit(source)
    without = ingest(source, context)
    assert (without.proposed, len(context.messages)) == (0, 1)
    saved(source / "proposals.npz", {"VOC2007/1": BOXES, "VOC2012/c": BOXES[:1]})
    made = result(source, context).annotations
    store = AnnotatedStore.open(made.path)
    assert made.summary["proposals"] == store.proposed == 2
    first, second = store.proposals([0, 1])
    assert first is not None
    assert first.tolist() == BOXES.tolist()
    assert second is None
    assert "3 proposals of 2 images from proposals.npz; 4 images have none" in context.messages
    assert problems(store) == []
    saved(source / "proposals.npz", {"VOC2007/1": BOXES, "VOC2012/c": BOXES[1:]})
    assert len({without.digest, store.digest, ingest(source, context).digest}) == 3


def test_proposals_may_lie_in_a_file_of_another_name(source: Path, context: LocalContext) -> None:
    drawn_devkit(source)
    saved(source / "edge boxes.npz", {"VOC2007/2": BOXES})
    assert ingest(source, context, proposals="edge boxes.npz").proposed == 1
    assert isinstance(context.config, IngestVocConfig)
    assert context.config.proposals == "edge boxes.npz"


def test_proposals_of_images_that_are_not_there_are_listed(source: Path, context: LocalContext) -> None:
    one, _ = drawn_devkit(source)
    one.file("JPEGImages/2.jpg", b"broken")
    saved(source / "proposals.npz", {f"VOC2007/{stem}": BOXES for stem in ("1", "2", "8", "9")})
    store = ingest(source, context)
    assert store.proposed == 1
    assert problems(store) == [
        ("VOC2007/JPEGImages/2.jpg", "undecodable"),
        ("proposals.npz", "no_image"),
        ("proposals.npz", "no_image"),
    ]
    assert "VOC2007/9 has proposals, but there is no such image" in (store.path / "problems.jsonl").read_text()


BAD_PROPOSALS: list[tuple[bytes | dict[str, NDArray[Any]], str]] = [
    (b"no archive", "The proposals in proposals.npz can't be read"),
    ({}, "name none of the images"),
    ({"1": BOXES}, "name none of the images"),
    ({"VOC2007/2": BOXES[:, :3]}, r"are no good for the image VOC2007/2: its array has the shape \(2, 3\)"),
    ({"VOC2007/2": BOXES * np.nan}, "box 0 .* is not finite"),
    ({"VOC2007/2": BOXES[:, [2, 3, 0, 1]]}, "box 0 .* has no area"),
    ({"VOC2007/2": BOXES[:, [1, 0, 3, 2]]}, "box 1 .* reaches out of the image of 40 x 30"),
    ({"VOC2007/2": np.array([{}])}, "pickled objects"),
]


@pytest.mark.parametrize(("given", "words"), BAD_PROPOSALS)
def test_proposals_that_are_wrong_anywhere_are_refused(
    source: Path, context: LocalContext, given: bytes | dict[str, NDArray[Any]], words: str
) -> None:
    drawn_devkit(source)
    if isinstance(given, bytes):
        (source / "proposals.npz").write_bytes(given)
    else:
        saved(source / "proposals.npz", given)
    error = refusal(source, context)
    assert error.reason is Reason.bad_labels
    assert re.search(words, str(error))


def test_a_detector_learns_on_the_proposals_that_were_registered(
    source: Path, context: LocalContext, tmp_path: Path
) -> None:
    drawn_devkit(source)
    saved(source / "proposals.npz", {f"VOC2007/{stem}": BOXES + 0 for stem in ("1", "2", "3")})
    checkpoint = narrow_checkpoint(tmp_path / "checkpoint")
    annotations = result(source, context).annotations.path
    sheet = transfer.run(DETECTION, transfer.TransferInputs(annotations=annotations, checkpoint=checkpoint), context)
    summary = sheet.evaluation.summary
    assert 0 <= summary["cells"]["det_ss"]["value"] <= 1
    assert summary["facts"]["proposals_per_image"] == len(BOXES)
    assert summary["facts"]["proposal_recall"] == 1


def test_a_source_that_teaches_nothing_is_refused(source: Path, context: LocalContext, tmp_path: Path) -> None:
    assert refusal(source, context).reason is Reason.source_missing
    (tmp_path / "photos").mkdir()
    assert refusal(tmp_path / "photos", context).reason is Reason.empty_source
    folder = DrawnFolder(source / "VOC2007")
    folder.image("1")
    folder.sets({"Main/train": ["2"]})
    assert refusal(source, context).reason is Reason.bad_labels


def test_a_stopped_ingest_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    drawn_devkit(source)
    context = LocalContext(tmp_path / "work", stop_after=0)
    with pytest.raises(Stopped):
        ingest(source, context)
    assert list(context.workdir.iterdir()) == []
