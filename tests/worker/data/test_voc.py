"""The reader of PASCAL VOC's layout, also beside torchvision's."""

import os
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import VOCDetection, VOCSegmentation

from tests.worker.data.devkit import Corners, DrawnFolder, drawn_devkit, mask_png, xml
from worker.config.reasons import Reason
from worker.data.annotated import Annotation
from worker.data.voc import VOC_CLASSES, VocFolder, find_devkit, mask_class_names, read_mask, read_objects
from worker.stages.contract import StageError

SIZE = (40, 30)


@pytest.fixture
def drawn(tmp_path: Path) -> DrawnFolder:
    return DrawnFolder(tmp_path / "VOC2007")


def read(drawn: DrawnFolder, text: str) -> tuple[list[Annotation] | None, list[tuple[str, str]]]:
    drawn.file("Annotations/1.xml", text.encode())
    found = read_objects(drawn.path.parent, VocFolder("VOC2007", drawn.path, {}), "1", SIZE)
    assert {problem.path for problem in found.problems} <= {"VOC2007/Annotations/1.xml"}
    return found.listed, [(problem.reason, problem.detail) for problem in found.problems]


def refusal(root: Path) -> StageError:
    with pytest.raises(StageError) as error:
        find_devkit(root)
    return error.value


@pytest.mark.parametrize("below", ["", "VOCdevkit", "TrainVal/VOCdevkit"])
def test_folders_are_found_at_the_top_or_a_little_below(tmp_path: Path, below: str) -> None:
    drawn_devkit(tmp_path / below)
    devkit = find_devkit(tmp_path)
    assert [(folder.name, list(folder.images)) for folder in devkit.folders] == [
        ("VOC2007", ["1", "2", "3"]),
        ("VOC2012", ["a", "b", "c"]),
    ]
    assert devkit.sets == {
        "VOC2007/Main/test": ["VOC2007/3"],
        "VOC2007/Main/trainval": ["VOC2007/1", "VOC2007/2"],
        "VOC2012/Main/train": ["VOC2012/a", "VOC2012/b"],
        "VOC2012/Segmentation/train": ["VOC2012/b"],
        "VOC2012/Segmentation/val": ["VOC2012/c"],
        "my_train": ["VOC2007/1", "VOC2012/a"],
    }


def test_one_folder_alone_is_a_devkit(tmp_path: Path) -> None:
    drawn_devkit(tmp_path)
    devkit = find_devkit(tmp_path / "VOC2007")
    assert list(devkit.sets) == ["VOC2007/Main/test", "VOC2007/Main/trainval"]


def test_lists_of_one_class_are_no_sets_but_names_with_spaces_are(drawn: DrawnFolder) -> None:
    drawn.image("cat 1")
    drawn.sets({"Main/cat_train": ["cat 2 -1", "cat 3 1"], "Main/train": ["cat 1"], "Layout/train": ["cat 1 2"]})
    assert find_devkit(drawn.path).sets == {"VOC2007/Main/train": ["VOC2007/cat 1"]}


def test_two_images_of_one_name_are_listed(drawn: DrawnFolder) -> None:
    drawn.image("1")
    drawn.file("JPEGImages/1.png", b"png")
    drawn.file("JPEGImages/.hidden.jpg", b"jpg")
    drawn.file("JPEGImages/notes.txt", b"text")
    drawn.sets({"Main/train": ["1"]})
    devkit = find_devkit(drawn.path)
    assert [(problem.path, problem.reason) for problem in devkit.problems] == [("JPEGImages/1.png", "duplicate")]


def test_another_layout_is_refused(tmp_path: Path, drawn: DrawnFolder) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    error = refusal(tmp_path / "photos")
    assert (error.reason, "JPEGImages" in str(error)) == (Reason.empty_source, True)
    drawn.file("JPEGImages/readme.txt", b"text")
    assert refusal(drawn.path).reason is Reason.empty_source
    drawn.image("1")
    error = refusal(drawn.path)
    assert (error.reason, "ImageSets/Main" in str(error)) == (Reason.bad_labels, True)


def test_a_list_that_is_no_text_is_named(drawn: DrawnFolder) -> None:
    drawn.image("1")
    drawn.file("ImageSets/Main/train.txt", b"\xff\xfe1\x00")
    error = refusal(drawn.path.parent)
    assert (error.reason, "VOC2007/ImageSets/Main/train.txt" in str(error)) == (Reason.bad_labels, True)


def test_other_text_at_the_top_is_no_list(tmp_path: Path) -> None:
    drawn_devkit(tmp_path)
    (tmp_path / "README.txt").write_bytes(b"\xffnotes")
    (tmp_path / "empty.txt").write_text("")
    assert {"README", "empty", "classes"}.isdisjoint(find_devkit(tmp_path).sets)


def test_a_list_that_leads_out_of_the_source_is_not_read(tmp_path: Path) -> None:
    one, _ = drawn_devkit(tmp_path / "VOCdevkit")
    (tmp_path / "secret.txt").write_text("secret")
    (one.path / "ImageSets" / "Main" / "leak.txt").symlink_to(tmp_path / "secret.txt")
    error = refusal(tmp_path / "VOCdevkit")
    assert "leak.txt" in str(error)
    assert "secret" not in str(error)


def test_boxes_become_zero_based_and_half_open(drawn: DrawnFolder) -> None:
    objects, problems = read(drawn, xml([("cat", (1, 2, 40, 30)), ("dog", (3.5, 4, 10, 12))], difficult=1))
    assert objects == [
        Annotation("cat", (0, 1, 40, 30), difficult=True),
        Annotation("dog", (2.5, 3, 10, 12), difficult=True),
    ]
    assert problems == []


def test_the_same_objects_and_masks_as_torchvision_reads(tmp_path: Path) -> None:
    drawn_devkit(tmp_path / "VOCdevkit")
    devkit = find_devkit(tmp_path)
    folder = devkit.folders[1]
    for number, (_, target) in enumerate(VOCDetection(tmp_path, "2012", "train")):
        found = target["annotation"]["object"][0]
        corners = [float(found["bndbox"][name]) for name in ("xmin", "ymin", "xmax", "ymax")]
        (read_box,) = read_objects(tmp_path, folder, "ab"[number], SIZE).listed or []
        assert (read_box.name, [c - 1 for c in corners[:2]] + corners[2:]) == (found["name"], list(read_box.box))
    ((_, mask),) = VOCSegmentation(tmp_path, "2012", "val")
    content = read_mask(tmp_path, folder, "c", SIZE).content
    assert content == (folder.path / "SegmentationClass" / "c.png").read_bytes()
    assert set(np.unique(np.asarray(mask))) == {0, 15, 255}


@pytest.mark.parametrize(
    ("corners", "box", "reason"),
    [
        ((0, 0, 40, 30), (0, 0, 40, 30), None),
        ((1, 1, 41, 31), (0, 0, 40, 30), None),
        ((-9, 1, 10, 10), (0, 0, 10, 10), "box_clipped"),
        ((1, 1, 50, 10), (0, 0, 40, 10), "box_clipped"),
        ((60, 1, 70, 10), None, "bad_box"),
        ((5, 5, 5, 9), None, "bad_box"),
        ((5, 9, 8, 9), None, "bad_box"),
        ((9, 5, 5, 9), None, "bad_box"),
    ],
)
def test_a_box_is_clipped_or_left_out_and_said_so(
    drawn: DrawnFolder, corners: Corners, box: Corners | None, reason: str | None
) -> None:
    objects, problems = read(drawn, xml([("dog", (2, 2, 5, 5)), ("cat", corners)]))
    assert objects is not None
    assert [one.box for one in objects[1:]] == ([] if box is None else [box])
    assert [found for found, _ in problems] == ([] if reason is None else [reason])
    assert all("object 2 (cat)" in detail for _, detail in problems)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "doesn't parse"),
        ("<annotation><object>", "doesn't parse"),
        ("<html/>", "<html>"),
        (xml([("cat", (1, 1, 5, 5))], size=(30, 40)), "30 x 40"),
        (xml([("", (1, 1, 5, 5))]), "no <name>"),
        (xml([("cat", (float("nan"), 1, 5, 5))]), "xmin"),
        ("<annotation><object><name>cat</name></object></annotation>", "bndbox/xmin"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "document type"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_left_out_whole(drawn: DrawnFolder, text: str, words: str) -> None:
    objects, ((reason, detail),) = read(drawn, text)
    assert (objects, reason) == (None, "bad_annotation")
    assert words in detail


def test_an_annotation_need_not_say_the_size(drawn: DrawnFolder) -> None:
    for size in (None, (0, 0)):
        objects, problems = read(drawn, xml([("cat", (1, 1, 5, 5))], size=size))
        assert (len(objects or ()), problems) == (1, [])


def test_an_empty_annotation_lists_no_objects_and_a_missing_one_nothing(drawn: DrawnFolder) -> None:
    assert read(drawn, "<annotation/>") == ([], [])
    found = read_objects(drawn.path.parent, VocFolder("VOC2007", drawn.path, {}), "2", SIZE)
    assert (found.listed, found.problems) == (None, [])


def test_an_annotation_that_leads_out_of_the_source_is_not_read(tmp_path: Path, drawn: DrawnFolder) -> None:
    drawn.file("Annotations/2.xml", b"")
    (tmp_path / "secret.xml").write_text(xml([("cat", (1, 1, 5, 5))]))
    os.symlink(tmp_path / "secret.xml", drawn.path / "Annotations" / "1.xml")
    found = read_objects(drawn.path, VocFolder("VOC2007", drawn.path, {}), "1", SIZE)
    assert (found.listed, [problem.reason for problem in found.problems]) == (None, ["unreadable"])


def test_a_mask_of_another_size_or_kind_is_left_out(drawn: DrawnFolder) -> None:
    folder = VocFolder("VOC2007", drawn.path, {})
    wrong = {"1": mask_png(np.zeros((40, 30), np.uint8)), "2": b"no png", "3": b""}
    for stem, content in wrong.items():
        drawn.file(f"SegmentationClass/{stem}.png", content)
        found = read_mask(drawn.path, folder, stem, SIZE)
        assert found.content is None
        assert found.problem is not None
        assert (found.problem.path, found.problem.reason) == (f"SegmentationClass/{stem}.png", "bad_mask")
    assert read_mask(drawn.path, folder, "4", SIZE).problem is None


def test_a_mask_tells_its_highest_class_but_not_the_void(drawn: DrawnFolder) -> None:
    indices = np.full((30, 40), 255, np.uint8)
    indices[0, 0] = 7
    drawn.mask("1", indices)
    assert read_mask(drawn.path, VocFolder("VOC2007", drawn.path, {}), "1", SIZE).highest == 7


def test_names_of_masks_are_said_or_vocs_or_the_objects() -> None:
    assert mask_class_names([], ["cat", "dog"], 15) == ["background", *VOC_CLASSES]
    assert mask_class_names([], ["RBC", "WBC"], 2) == ["background", "RBC", "WBC"]
    assert mask_class_names([], ["RBC", "WBC"], 3) == ["background", "class 1", "class 2", "class 3"]
    assert mask_class_names(["background", "cell"], ["cat"], 1) == ["background", "cell"]
    assert mask_class_names(["background"], [], 1) == ["background", "class 1"]


def test_class_names_are_read_where_they_lie(tmp_path: Path) -> None:
    drawn_devkit(tmp_path)
    assert find_devkit(tmp_path).class_names == []
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\ncell\nnucleus\n")
    assert find_devkit(tmp_path).class_names == ["background", "cell", "nucleus"]
