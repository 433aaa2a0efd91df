import errno
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.worker.data.drawing import encoded, noise, write_image
from worker.config.base import DatasetFacts
from worker.config.ingest import IngestConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.data.decode import decode
from worker.data.store import ImageStore
from worker.stages.contract import StageError, Stopped
from worker.stages.ingest import CHUNK_IMAGES, IngestInputs, IngestResult, run
from worker.stages.standalone import LocalContext


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def context(tmp_path: Path) -> LocalContext:
    return LocalContext(tmp_path / "work")


def ingest(source: Path, context: LocalContext, **config: object) -> ImageStore:
    return ImageStore.open(result(source, context, **config).store.path)


def result(source: Path, context: LocalContext, **config: object) -> IngestResult:
    settings = IngestConfig.model_validate({"side": 32, **config})
    return run(settings, IngestInputs(source=source), context)


def refusal(source: Path, context: LocalContext, **config: object) -> StageError:
    with pytest.raises(StageError) as error:
        ingest(source, context, **config)
    assert list(context.workdir.iterdir()) == [], "something was left behind"
    return error.value


def problems(store: ImageStore) -> dict[str, str]:
    lines = map(json.loads, (store.path / "problems.jsonl").read_text().splitlines())
    return {line["path"]: line["reason"] for line in lines}


def test_every_image_lies_in_the_store_in_the_order_of_paths(source: Path, context: LocalContext) -> None:
    contents = {name: write_image(source / name, seed) for seed, name in enumerate(["b.png", "a/z.png", "c.png"])}
    store = ingest(source, context)
    assert store.paths == ["a/z.png", "b.png", "c.png"]
    for path, pixels in zip(store.paths, store.images, strict=True):
        np.testing.assert_array_equal(pixels, decode(contents[path], 32, 10**6).pixels)


def test_bad_files_and_duplicates_are_listed_and_leave_no_gap(source: Path, context: LocalContext) -> None:
    for seed, name in enumerate(["b.png", "d.png", "f.png"]):
        write_image(source / name, seed)
    (source / "a.jpg").write_bytes(b"not an image")
    (source / "c.png").write_bytes((source / "b.png").read_bytes())
    (source / "e.gif").write_bytes(b"")
    (source / "g.heic").write_bytes(b"x")
    (source / "h.png").write_bytes(encoded(noise(9, 200, 200)))
    (source / "notes.txt").write_text("x")
    store = ingest(source, context, max_pixels=10_000)
    assert store.paths == ["b.png", "d.png", "f.png"]
    np.testing.assert_array_equal(store.images[2], decode((source / "f.png").read_bytes(), 32, 10_000).pixels)
    assert problems(store) == {
        "a.jpg": "undecodable",
        "c.png": "duplicate",
        "e.gif": "undecodable",
        "g.heic": "unsupported",
        "h.png": "too_many_pixels",
    }
    assert "Left out: 1 .txt" in context.messages


def test_summary_holds_what_the_dataset_page_and_auto_settings_need(source: Path, context: LocalContext) -> None:
    for seed, name in enumerate(["cat/a.png", "cat/b.png", "dog/c.png"]):
        write_image(source / name, seed)
    (source / "dog/copy.png").write_bytes((source / "cat/a.png").read_bytes())
    (source / "dog/bad.png").write_bytes(b"x")
    produced = result(source, context).store
    assert produced.kind is ArtifactKind.image_store
    summary = produced.summary
    store = ImageStore.open(produced.path)
    assert (summary.pop("digest"), summary.pop("photographs")) == (store.digest, store.photographs)
    assert summary == {
        "count": 3,
        "side": 32,
        "classes": ["cat", "dog"],
        "labelled": 3,
        "skipped": 1,
        "duplicates": 1,
        "ignored": 0,
    }
    facts = DatasetFacts(image_count=summary["count"], side=summary["side"], class_count=len(summary["classes"]))
    assert facts.class_count == 2


def test_several_processes_give_the_very_same_store(source: Path, tmp_path: Path) -> None:
    for seed in range(2 * CHUNK_IMAGES + 5):
        write_image(source / f"{seed:03}.png", seed)
    for bad in (3, CHUNK_IMAGES + 1):
        (source / f"{bad:03}.png").write_bytes(b"x")
    (source / "050.png").write_bytes((source / "001.png").read_bytes())
    contexts = {processes: LocalContext(tmp_path / f"work{processes}") for processes in (1, 3)}
    stores = [ingest(source, context, processes=processes).path for processes, context in contexts.items()]
    for name in ("store.json", "manifest.jsonl", "problems.jsonl", "images.u8"):
        assert (stores[0] / name).read_bytes() == (stores[1] / name).read_bytes()
    assert contexts[3].done == (2 * CHUNK_IMAGES + 5, 2 * CHUNK_IMAGES + 5, "images")


def test_the_stage_runs_as_a_program_of_its_own_with_several_processes(source: Path, tmp_path: Path) -> None:
    for seed in range(CHUNK_IMAGES + 1):
        write_image(source / f"{seed}.png", seed)
    command = [sys.executable, "-m", "worker.stages.ingest", "--source", source, "--out", tmp_path / "out"]
    done = subprocess.run(
        [*command, "--config", '{"side": 32, "processes": 2}'], capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout)["store"]["summary"]["count"] == CHUNK_IMAGES + 1


def test_the_resolved_config_has_no_auto_left(source: Path, context: LocalContext) -> None:
    write_image(source / "cat/a.png", 0)
    write_image(source / "dog/b.png", 1)
    ingest(source, context)
    assert context.config == IngestConfig(side=32, labels="folders", processes=1)


@pytest.mark.parametrize(("labels", "classes"), [("auto", ["cat", "dog"]), ("none", []), ("folders", ["cat", "dog"])])
def test_labels_may_come_from_folders(source: Path, context: LocalContext, labels: str, classes: list[str]) -> None:
    write_image(source / "cat/a.png", 0)
    write_image(source / "dog/b.png", 1)
    assert ingest(source, context, labels=labels).classes == classes


def test_labels_may_come_from_a_csv(source: Path, context: LocalContext) -> None:
    write_image(source / "a.png", 0)
    write_image(source / "b.png", 1)
    (source / "labels.csv").write_text("path,label\nb.png,dog\n")
    store = ingest(source, context, labels="csv", labels_csv="labels.csv")
    assert store.labels.tolist() == [-1, 0]
    assert store.classes == ["dog"]


def test_csv_with_an_unknown_path_is_refused_before_any_decoding(source: Path, context: LocalContext) -> None:
    write_image(source / "a.png", 0)
    (source / "labels.csv").write_text("path,label\nz.png,dog\n")
    error = refusal(source, context, labels="csv", labels_csv="labels.csv")
    assert error.reason is Reason.bad_labels
    assert "labels.csv line 2" in str(error)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_an_archive_gives_the_store_of_its_folder(
    source: Path, tmp_path: Path, context: LocalContext, suffix: str, wrapped: bool
) -> None:
    for seed, name in enumerate(["cat/a.png", "dog/b.png"]):
        write_image(source / name, seed)
    archive = tmp_path / f"photos{suffix}"
    names = {name: f"photos/{name}" if wrapped else name for name in ("cat/a.png", "dog/b.png")}
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name, inside in names.items():
                file.write(source / name, inside)
    else:
        with tarfile.open(archive, "w:gz") as file:
            for name, inside in names.items():
                file.add(source / name, inside)
    packed = ingest(archive, context)
    assert packed.digest == ingest(source, LocalContext(tmp_path / "other")).digest
    assert [path.name for path in context.workdir.iterdir()] == ["store"]


def test_a_refused_archive_leaves_nothing(tmp_path: Path, context: LocalContext) -> None:
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as file:
        file.addfile(tarfile.TarInfo("../evil.png"))
    error = refusal(archive, context)
    assert error.reason is Reason.archive_refused
    assert "../evil.png" in str(error)


def test_archive_limits_come_from_the_config(tmp_path: Path, context: LocalContext) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for index in range(3):
            file.writestr(f"{index}.png", encoded(noise(index)))
    assert "more than 2 members" in str(refusal(archive, context, max_files=2))
    assert "more than 1,000 bytes" in str(refusal(archive, context, max_bytes=1000))


def test_a_missing_source_is_told(source: Path, context: LocalContext) -> None:
    assert refusal(source / "nowhere", context).reason is Reason.source_missing


def test_a_source_without_images_is_told(source: Path, context: LocalContext) -> None:
    assert refusal(source, context).reason is Reason.empty_source
    (source / "notes.txt").write_text("x")
    assert "1 other files" in str(refusal(source, context))


@pytest.mark.parametrize("second", [None, b"broken", "copy"])
def test_fewer_than_two_different_images_are_refused(
    source: Path, context: LocalContext, second: bytes | str | None
) -> None:
    content = write_image(source / "a.png", 0)
    if second is not None:
        (source / "b.png").write_bytes(content if second == "copy" else b"broken")
    assert refusal(source, context).reason is Reason.too_few_images


@pytest.mark.parametrize("processes", [1, 2])
def test_stopping_at_a_chunk_edge_leaves_nothing(source: Path, tmp_path: Path, processes: int) -> None:
    for seed in range(2 * CHUNK_IMAGES):
        write_image(source / f"{seed}.png", seed)
    context = LocalContext(tmp_path / "work", stop_after=0)
    with pytest.raises(Stopped):
        ingest(source, context, processes=processes)
    assert context.done == (CHUNK_IMAGES, 2 * CHUNK_IMAGES, "images")
    assert list(context.workdir.iterdir()) == []


def test_a_full_disk_is_told_as_such(source: Path, context: LocalContext, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(source / "a.png", 0)
    write_image(source / "b.png", 1)

    def full(file: int, content: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    assert refusal(source, context).reason is Reason.disk_full


def test_a_source_that_changes_meanwhile_is_listed(
    source: Path, context: LocalContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        write_image(source / f"{seed}.png", seed)
    monkeypatch.setattr(context, "resolved", lambda config: (source / "1.png").unlink())
    store = ingest(source, context)
    assert store.paths == ["0.png", "2.png"]
    assert problems(store) == {"1.png": "unreadable"}
