import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint import CheckpointError
from models.exporting import folded_backbone, folded_classifier, write_safetensors
from models.load import load_alexnet, load_backbone, load_export_record
from tests.models.nets import noise, small_student


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    record, net = small_student(head_norm="batch")
    folded_record, folded = folded_classifier(record, net.backbone, net.head)
    write_safetensors(tmp_path / "alexnet.safetensors", folded_record, folded.weights())
    return tmp_path / "alexnet.safetensors"


def test_one_line_gives_the_trained_network(exported: Path) -> None:
    net = load_alexnet(str(exported))
    _, trained = small_student(head_norm="batch")
    images = noise(3, 64)
    assert not net.training
    torch.testing.assert_close(net(images), trained(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        net.taps(images, ["conv4"])["conv4"], trained.taps(images, ["conv4"])["conv4"], rtol=1e-4, atol=1e-5
    )


def test_the_convolutions_load_alone(exported: Path, tmp_path: Path) -> None:
    record, trained = small_student(head_norm="batch")
    images = noise(3, 64)
    torch.testing.assert_close(load_backbone(exported)(images), trained.backbone(images), rtol=1e-4, atol=1e-5)
    folded_record, folded = folded_backbone(record, trained.backbone)
    write_safetensors(tmp_path / "teacher.safetensors", folded_record, dict(folded.state_dict()))
    teacher = load_backbone(tmp_path / "teacher.safetensors")
    torch.testing.assert_close(teacher(images), trained.backbone(images), rtol=1e-4, atol=1e-5)


def test_a_file_says_what_it_is(exported: Path) -> None:
    record = load_export_record(exported)
    assert (record.crop, record.classes, record.training) == (64, 5, {"epochs": 2})


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("other.safetensors", "text.safetensors"):
        with pytest.raises(CheckpointError, match="is no export"):
            load_alexnet(tmp_path / name)


def test_the_config_needs_no_torch() -> None:
    code = "import sys, models.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
