import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

from models.backbone import build_backbone
from models.checkpoint import CheckpointRecord, load_checkpoint, save_checkpoint
from models.config import BackboneConfig
from models.heads import ClassifierHead
from models.load import load_alexnet, load_backbone
from models.model_card import ModelCard
from models.pixels import ImagePixels
from tests.models.nets import noise, small_backbone, small_student, student_record
from worker.config.export import ExportConfig
from worker.config.reasons import Reason
from worker.stages.contract import StageError, Stopped
from worker.stages.export import ExportInputs, ExportResult, run
from worker.stages.standalone import LocalContext


@pytest.fixture
def student(tmp_path: Path) -> Path:
    record, net = small_student("alexnet")
    save_checkpoint(tmp_path / "student", record, net.backbone, net.head)
    return tmp_path / "student"


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    backbone = small_backbone("vgg16")
    record = CheckpointRecord(
        role="teacher",
        backbone=backbone.config,
        crop=32,
        pixels=ImagePixels(std=50),
        classes=100,
        training={"epochs": 7},
    )
    save_checkpoint(tmp_path / "teacher", record, backbone, None)
    return tmp_path / "teacher"


@pytest.fixture
def context(tmp_path: Path) -> LocalContext:
    return LocalContext(tmp_path / "work")


def card_of(result: ExportResult) -> ModelCard:
    return ModelCard.model_validate_json((result.weights.path / "model_card.json").read_text())


def test_every_file_is_there_as_the_card_says(student: Path, teacher: Path, context: LocalContext) -> None:
    result = run(ExportConfig(), ExportInputs(student=student, teacher=teacher), context)
    card = card_of(result)
    assert {file.name for file in card.files.values()} | {"model_card.json"} == {
        path.name for path in result.weights.path.iterdir()
    }
    for file in card.files.values():
        content = (result.weights.path / file.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
        assert file.max_abs_diff is not None
        assert file.max_abs_diff < 1e-4


def test_the_files_hold_the_trained_networks(student: Path, teacher: Path, context: LocalContext) -> None:
    folder = run(ExportConfig(formats=("safetensors",)), ExportInputs(student=student, teacher=teacher), context)
    images = noise(2, 64)
    net = load_alexnet(folder.weights.path / "alexnet.safetensors")
    torch.testing.assert_close(net(images), small_student("alexnet")[1](images), rtol=1e-4, atol=1e-5)
    convolutions = load_backbone(folder.weights.path / "teacher.safetensors")
    torch.testing.assert_close(convolutions(images), small_backbone("vgg16")(images), rtol=1e-4, atol=1e-5)


def test_the_card_tells_what_a_user_needs(student: Path, teacher: Path, context: LocalContext) -> None:
    card = card_of(run(ExportConfig(formats=("pt2",)), ExportInputs(student=student, teacher=teacher), context))
    assert card.input.size == 64
    assert "0.485" in card.input.normalise
    assert card.classes == 5
    assert card.taps == small_backbone("alexnet").tap_channels
    assert card.training == {"epochs": 2}
    assert card.distilled_from is not None
    assert card.distilled_from["backbone"]["arch"] == "vgg16"
    assert card.distilled_from["training"] == {"epochs": 7}


def test_the_summary_is_json_with_the_formats(student: Path, context: LocalContext) -> None:
    summary = run(ExportConfig(formats=("safetensors",)), ExportInputs(student=student), context).weights.summary
    assert json.loads(json.dumps(summary)) == summary
    assert summary["formats"]["safetensors"]["name"] == "alexnet.safetensors"


def test_torchvisions_format_is_left_out_where_it_does_not_fit(student: Path, context: LocalContext) -> None:
    result = run(ExportConfig(formats=("torchvision",)), ExportInputs(student=student), context)
    assert [path.name for path in result.weights.path.iterdir()] == ["model_card.json"]
    assert card_of(result).left_out == {"torchvision": "arch is alexnet, not alexnet-torchvision"}
    assert any("torchvision" in message for message in context.messages)
    assert card_of(result).distilled_from is None


def test_torchvisions_format_is_made_and_compared_where_it_fits(tmp_path: Path, context: LocalContext) -> None:
    backbone = build_backbone(BackboneConfig.model_validate({"arch": "alexnet-torchvision"}))
    head = ClassifierHead(256, 3)
    save_checkpoint(tmp_path / "student", student_record(backbone, head, 95), backbone, head)
    result = run(ExportConfig(formats=("torchvision",)), ExportInputs(student=tmp_path / "student"), context)
    file = card_of(result).files["torchvision"]
    assert file.name == "alexnet.torchvision.pth"
    assert file.max_abs_diff is not None
    assert file.load[0] == "net = torchvision.models.alexnet(num_classes=3)"


def test_without_onnxruntime_the_card_says_that_nothing_was_compared(
    student: Path, context: LocalContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    file = card_of(run(ExportConfig(formats=("onnx",)), ExportInputs(student=student), context)).files["onnx"]
    assert file.max_abs_diff is None
    assert "onnxruntime is not installed" in file.compared


def test_a_file_that_gives_other_outputs_is_never_handed_out(
    student: Path, context: LocalContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = small_student("alexnet", norm="none")[1]
    monkeypatch.setattr("worker.stages.export.load_alexnet", lambda path: other)
    with pytest.raises(RuntimeError, match=r"alexnet\.safetensors gives other outputs"):
        run(ExportConfig(formats=("safetensors",)), ExportInputs(student=student), context)


def test_a_damaged_student_is_refused(student: Path, context: LocalContext) -> None:
    (student / "model.pt").write_bytes(b"damaged")
    with pytest.raises(StageError, match="student can't be read") as caught:
        run(ExportConfig(), ExportInputs(student=student), context)
    assert caught.value.reason is Reason.artifact_corrupt


def test_a_student_that_is_no_alexnet_is_refused(tmp_path: Path, context: LocalContext) -> None:
    record, net = small_student("vgg16")
    save_checkpoint(tmp_path / "student", record, net.backbone, net.head)
    with pytest.raises(StageError, match="Only AlexNets") as caught:
        run(ExportConfig(), ExportInputs(student=tmp_path / "student"), context)
    assert caught.value.reason is Reason.bad_config


def test_a_diverged_student_is_refused(tmp_path: Path, context: LocalContext) -> None:
    record, net = small_student("alexnet")
    net.head.get_parameter("classifier.6.bias").data.fill_(torch.nan)
    save_checkpoint(tmp_path / "student", record, net.backbone, net.head)
    with pytest.raises(StageError) as caught:
        run(ExportConfig(), ExportInputs(student=tmp_path / "student"), context)
    assert caught.value.reason is Reason.diverged


def test_it_stops_between_files(student: Path, tmp_path: Path) -> None:
    context = LocalContext(tmp_path / "work", stop_after=1)
    with pytest.raises(Stopped):
        run(ExportConfig(formats=("safetensors", "pt2")), ExportInputs(student=student), context)
    assert [path.name for path in (tmp_path / "work" / "weights").iterdir()] == ["alexnet.safetensors"]


def test_of_a_student_without_a_head_the_convolutions_are_written(
    tmp_path: Path, student: Path, context: LocalContext
) -> None:
    record, backbone = load_checkpoint(student)
    save_checkpoint(tmp_path / "headless", record.model_copy(update={"classes": 0, "head": {}}), backbone, None)
    result = run(ExportConfig(), ExportInputs(student=tmp_path / "headless"), context)
    card = card_of(result)
    assert sorted(path.name for path in result.weights.path.iterdir()) == ["alexnet.safetensors", "model_card.json"]
    assert card.classes == 0
    assert set(card.left_out) == {"torchvision", "onnx", "pt2"}
    assert "no classifier" in card.left_out["onnx"]
    assert card.files["safetensors"].load[1] == 'net = load_backbone("alexnet.safetensors")'
    exported = load_backbone(result.weights.path / "alexnet.safetensors")
    assert card.parameters == sum(value.numel() for value in exported.parameters())
    images = noise(2, record.crop)
    torch.testing.assert_close(exported(images), backbone(images), rtol=1e-3, atol=1e-4)
