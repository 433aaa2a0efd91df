import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.worker.data.devkit import DrawnFolder, drawn_devkit
from worker.config.ingest_voc import IngestVocConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.data.annotated import AnnotatedStore
from worker.stages.contract import StageError, Stopped
from worker.stages.ingest_voc import IngestVocInputs, IngestVocResult, run
from worker.stages.standalone import LocalContext


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
    archive = tmp_path / f"VOC.{form}"
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in source.rglob("*"):
                packed.write(path, path.relative_to(tmp_path))
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(source, "VOCdevkit")
    other = LocalContext(tmp_path / "other")
    assert ingest(archive, other).digest == ingest(source, context).digest
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
