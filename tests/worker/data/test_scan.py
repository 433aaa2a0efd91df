import os
from pathlib import Path

import pytest

from worker.config.reasons import Reason
from worker.data.scan import are_labelled_by_folders, csv_labels, describe_ignored, folder_labels, scan_folder
from worker.stages.contract import StageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_image_files_are_found_below_every_folder_sorted_by_path(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.PNG", "b/c/1.jpeg", "a.webp", "b/10.tif", "B/x.gif", "z.bmp")
    assert scan_folder(tmp_path).paths == ["B/x.gif", "a.webp", "b/10.tif", "b/2.PNG", "b/c/1.jpeg", "z.bmp"]


def test_other_files_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.txt", "sub/c.TXT", ".hidden.jpg", ".git/d.jpg", "README")
    scan = scan_folder(tmp_path)
    assert scan.paths == ["a.jpg"]
    assert scan.ignored == {".txt": 2, "hidden": 2, "no suffix": 1}
    assert list(describe_ignored(scan.ignored)) == ["2 .txt", "2 hidden", "1 no suffix"]


def test_image_kinds_that_are_not_read_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a.heic", "b.svg")
    assert [(problem.path, problem.reason) for problem in scan_folder(tmp_path).problems] == [
        ("a.heic", "unsupported"),
        ("b.svg", "unsupported"),
    ]


def test_links_are_followed_only_to_files_within_the_source(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "source", tmp_path / "source-2"
    touch(source, "real/a.jpg")
    touch(elsewhere, "secret.jpg")
    (source / "inside.jpg").symlink_to(source / "real/a.jpg")
    (source / "outside.jpg").symlink_to(elsewhere / "secret.jpg")
    (source / "dangling.jpg").symlink_to(source / "nothing.jpg")
    (source / "folder").symlink_to(elsewhere)
    (source / "loop").symlink_to(source)
    scan = scan_folder(source)
    assert scan.paths == ["inside.jpg", "real/a.jpg"]
    assert [(problem.path, problem.reason) for problem in scan.problems] == [("outside.jpg", "unreadable")]
    assert scan.ignored == {"link": 3}


def test_a_pipe_named_like_an_image_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    scan = scan_folder(tmp_path)
    assert scan.paths == []
    assert scan.ignored == {"special": 1}


def test_a_name_that_is_no_utf8_is_listed_in_escapes(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb"):
        pass
    (problem,) = scan_folder(tmp_path).problems
    assert (problem.path, problem.reason) == ("caf\\xe9.jpg", "unreadable")


def test_folder_labels_are_the_first_folder_below_the_root() -> None:
    assert folder_labels(["cat/a.jpg", "dog/old/b.jpg", "c.jpg"]) == {"cat/a.jpg": "cat", "dog/old/b.jpg": "dog"}


@pytest.mark.parametrize(
    ("paths", "labelled"),
    [
        (["cat/a.jpg", "dog/b.jpg"], True),
        (["cat/a.jpg", "cat/b.jpg"], False),
        (["cat/a.jpg", "dog/b.jpg", "c.jpg"], False),
        (["a.jpg", "b.jpg"], False),
    ],
)
def test_folders_are_labels_where_at_least_two_hold_all_images(paths: list[str], labelled: bool) -> None:
    assert are_labelled_by_folders(paths) is labelled


def test_csv_labels_may_leave_images_out(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,cat\n")
    assert csv_labels(tmp_path, "labels.csv", "label", ["a.jpg", "b.jpg"]) == {"a.jpg": "cat"}


def test_csv_path_that_is_no_image_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,cat\nmissing.jpg,dog\n")
    with pytest.raises(StageError, match=r"line 3: there is no image 'missing.jpg'") as refusal:
        csv_labels(tmp_path, "labels.csv", "label", ["a.jpg"])
    assert refusal.value.reason is Reason.bad_labels


@pytest.mark.parametrize("name", ["../labels.csv", "link.csv", "absolute"])
def test_label_file_outside_the_source_is_refused(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    outside = tmp_path / "labels.csv"
    outside.write_text("path,label\n")
    (source / "link.csv").symlink_to(outside)
    with pytest.raises(StageError, match="does not lie below the source") as refusal:
        csv_labels(source, str(outside) if name == "absolute" else name, "label", [])
    assert refusal.value.reason is Reason.bad_labels
