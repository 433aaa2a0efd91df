import json
import re
from pathlib import Path

import pytest
import torch

from models.checkpoint import (
    CheckpointError,
    CheckpointRecord,
    load_checkpoint,
    load_classifier,
    load_record,
    save_checkpoint,
)
from models.heads import PuzzleHead
from models.pixels import ImagePixels
from tests.models.nets import noise, small_backbone, small_student


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    backbone = small_backbone("alexnet")
    record = CheckpointRecord(
        role="teacher", backbone=backbone.config, crop=64, pixels=ImagePixels(std=50), classes=7, head={"fc6": 8}
    )
    save_checkpoint(tmp_path, record, backbone, PuzzleHead(backbone.out_channels * 9, 8, 8, 7))
    return tmp_path


def edit_record(folder: Path, **changes: object) -> None:
    path = folder / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("head_norm", ["none", "batch"])
def test_a_student_comes_back_as_it_was(tmp_path: Path, head_norm: str) -> None:
    record, net = small_student(head_norm="batch" if head_norm == "batch" else "none")
    save_checkpoint(tmp_path, record, net.backbone, net.head)
    loaded_record, backbone, head = load_classifier(tmp_path)
    images = noise(2, 64)
    assert loaded_record == record
    assert torch.equal(head(backbone(images)), net(images))


def test_a_teacher_comes_back_without_its_head(teacher: Path) -> None:
    record, backbone = load_checkpoint(teacher)
    images = noise(2, 64)
    assert record.pixels == ImagePixels(std=50)
    assert torch.equal(backbone(images), small_backbone("alexnet")(images))
    assert not backbone.training


def test_an_alexnet_may_be_read_with_another_stride(teacher: Path) -> None:
    record, backbone = load_checkpoint(teacher, conv1_stride=4)
    assert record.backbone.conv1_stride == 4
    assert backbone.taps(noise(1, 227), ["conv1"])["conv1"].shape[-2:] == (55, 55)


def test_loading_draws_no_random_numbers(teacher: Path) -> None:
    before = torch.get_rng_state()
    load_checkpoint(teacher)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_network_makes_the_same_bytes(teacher: Path, tmp_path: Path) -> None:
    record, backbone = load_checkpoint(teacher)
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, record, backbone, None)
    assert (tmp_path / "a" / "model.pt").read_bytes() == (tmp_path / "b" / "model.pt").read_bytes()


def test_a_teacher_is_no_classifier(teacher: Path) -> None:
    with pytest.raises(CheckpointError, match="a teacher has no classifier"):
        load_classifier(teacher)


def test_weights_of_another_network_are_refused_by_name(teacher: Path) -> None:
    backbone = load_record(teacher).backbone.model_copy(update={"norm": "none"})
    edit_record(teacher, backbone=backbone.model_dump(mode="json"))
    with pytest.raises(CheckpointError, match=re.escape("missing: features.3.weight")) as caught:
        load_checkpoint(teacher)
    assert "unexpected: features.1.weight" in str(caught.value)


def test_weights_of_another_width_are_refused_by_name(teacher: Path) -> None:
    backbone = load_record(teacher).backbone.model_copy(update={"width": 0.25})
    edit_record(teacher, backbone=backbone.model_dump(mode="json"))
    with pytest.raises(CheckpointError, match=re.escape("wrong shape: features.0.weight")):
        load_checkpoint(teacher)


def test_an_unknown_head_is_refused(teacher: Path) -> None:
    edit_record(teacher, role="student")
    with pytest.raises(CheckpointError, match="head is no classifier"):
        load_classifier(teacher)


def test_damaged_weights_are_refused(teacher: Path) -> None:
    path = teacher / "model.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=re.escape("no readable model.pt")):
        load_checkpoint(teacher)


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape("no readable checkpoint.json")):
        load_checkpoint(tmp_path)
