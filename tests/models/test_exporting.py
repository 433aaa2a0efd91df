import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torchvision.models import alexnet

from models.backbone import build_backbone
from models.classifier import Classifier
from models.config import BackboneConfig
from models.exporting import (
    folded_backbone,
    folded_classifier,
    torchvision_misfit,
    write_onnx,
    write_pt2,
    write_safetensors,
    write_torchvision,
)
from models.heads import ClassifierHead
from models.importing import import_backbone, read_weights
from tests.models.nets import lived_in, noise, small_backbone, small_student, student_record


@pytest.mark.parametrize("arch", ["alexnet", "alexnet-torchvision"])
def test_onnxruntime_gives_the_same_logits_for_any_batch(tmp_path: Path, arch: str) -> None:
    record, net = small_student(arch)
    _, folded = folded_classifier(record, net.backbone, net.head)
    write_onnx(tmp_path / "net.onnx", folded, 64, opset=18)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 4):
        images = noise(batch, 64)
        logits = session.run(["logits"], {"image": images.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(logits), net(images), rtol=1e-4, atol=1e-4)


def test_an_onnx_file_is_one_file_of_the_asked_opset(tmp_path: Path) -> None:
    record, net = small_student("alexnet", norm="lrn")
    _, folded = folded_classifier(record, net.backbone, net.head)
    write_onnx(tmp_path / "net.onnx", folded, 64, opset=20)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert {entry.domain: entry.version for entry in onnx.load(tmp_path / "net.onnx").opset_import}[""] == 20


def test_a_torch_export_program_gives_the_same_logits_for_any_batch(tmp_path: Path) -> None:
    record, net = small_student()
    _, folded = folded_classifier(record, net.backbone, net.head)
    write_pt2(tmp_path / "net.pt2", folded, 64)
    program = torch.export.load(tmp_path / "net.pt2").module()
    for batch in (1, 4):
        images = noise(batch, 64)
        torch.testing.assert_close(program(images), net(images), rtol=1e-4, atol=1e-5)


def test_exporting_is_silent_and_tells_nothing_of_the_machine(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    record, net = small_student()
    _, folded = folded_classifier(record, net.backbone, net.head)
    write_onnx(tmp_path / "net.onnx", folded, 64, opset=18)
    write_pt2(tmp_path / "net.pt2", folded, 64)
    here = str(Path(__file__).parents[2]).encode()
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []
    assert here not in (tmp_path / "net.onnx").read_bytes()
    assert here not in (tmp_path / "net.pt2").read_bytes()


def test_torchvision_loads_its_variant_strictly_and_gives_the_same_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig.model_validate({"arch": "alexnet-torchvision"}))
    head = ClassifierHead(256, 3)
    lived_in(backbone)
    lived_in(head)
    record = student_record(backbone, head, 127)
    assert torchvision_misfit(record) is None
    _, folded = folded_classifier(record, backbone, head)
    write_torchvision(tmp_path / "net.pth", folded)
    with torch.device("meta"):
        theirs = alexnet(num_classes=3)
    theirs.load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True), strict=True, assign=True)
    images = noise(2, 127)
    with torch.no_grad():
        expected = Classifier(backbone, head)(images)
        torch.testing.assert_close(theirs.eval()(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "width", "why"),
    [
        ({"arch": "alexnet"}, 4096, "arch is alexnet"),
        ({"arch": "alexnet-torchvision", "width": 0.5}, 4096, "width is 0.5"),
        ({"arch": "alexnet-torchvision", "conv1_stride": 2}, 4096, "stride is 2"),
        ({"arch": "alexnet-torchvision"}, 512, "head's width is 512"),
    ],
)
def test_what_torchvision_cannot_be_is_said(config: dict[str, object], width: int, why: str) -> None:
    record, _ = small_student()
    backbone = BackboneConfig.model_validate(config)
    misfit = torchvision_misfit(record.model_copy(update={"backbone": backbone, "head": {"width": width}}))
    assert misfit is not None
    assert why in misfit


def test_safetensors_carry_torchvisions_names_and_the_record(tmp_path: Path) -> None:
    record, net = small_student(head_norm="batch")
    folded_record, folded = folded_classifier(record, net.backbone, net.head)
    write_safetensors(tmp_path / "net.safetensors", folded_record, folded.weights())
    with safe_open(tmp_path / "net.safetensors", framework="pt") as file:
        names = set(file.keys())
        told = json.loads(file.metadata()["passdown"])
    with torch.device("meta"):
        assert names == set(alexnet().state_dict())
    assert told["backbone"]["norm"] == "none"
    assert told["classes"] == 5


def test_an_exported_teacher_can_be_imported_again(tmp_path: Path) -> None:
    backbone = small_backbone("vgg16")
    record, _ = small_student()
    record = record.model_copy(update={"role": "teacher", "backbone": backbone.config})
    folded_record, folded = folded_backbone(record, backbone)
    write_safetensors(tmp_path / "teacher.safetensors", folded_record, dict(folded.state_dict()))
    imported, _ = import_backbone(folded_record.backbone, read_weights(tmp_path / "teacher.safetensors"))
    images = noise(2, 64)
    torch.testing.assert_close(imported(images), backbone(images), rtol=1e-4, atol=1e-5)
