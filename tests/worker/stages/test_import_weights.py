from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.checkpoint import load_checkpoint
from models.pixels import ImagenetPixels, ImagePixels
from tests.models.nets import noise, small_backbone
from worker.config.export import ImportWeightsConfig
from worker.config.reasons import Reason
from worker.stages.contract import StageError
from worker.stages.import_weights import ImportWeightsInputs, ImportWeightsResult, run
from worker.stages.standalone import LocalContext

CONFIG = ImportWeightsConfig(backbone=small_backbone("vgg16").config, crop=96)


@pytest.fixture
def context(tmp_path: Path) -> LocalContext:
    return LocalContext(tmp_path / "work")


def imported(
    tmp_path: Path, context: LocalContext, weights: dict[str, Tensor], config: ImportWeightsConfig = CONFIG
) -> ImportWeightsResult:
    upload = tmp_path / "upload"
    upload.mkdir(exist_ok=True)
    save_file(weights, upload / "mine.safetensors")
    return run(config, ImportWeightsInputs(upload=upload), context)


def refusal(upload: Path, context: LocalContext, config: ImportWeightsConfig = CONFIG) -> StageError:
    with pytest.raises(StageError) as caught:
        run(config, ImportWeightsInputs(upload=upload), context)
    assert not list(context.workdir.iterdir())
    return caught.value


def test_the_users_network_becomes_a_teacher(tmp_path: Path, context: LocalContext) -> None:
    mine = small_backbone("vgg16")
    result = imported(tmp_path, context, dict(mine.state_dict()))
    record, backbone = load_checkpoint(result.checkpoint.path)
    images = noise(2, 64)
    assert torch.equal(backbone(images), mine(images))
    assert (record.role, record.crop, record.classes) == ("teacher", 96, 0)
    assert record.pixels == ImagenetPixels()


def test_the_user_says_how_it_wants_its_pixels(tmp_path: Path, context: LocalContext) -> None:
    config = CONFIG.model_copy(update={"input_std": "image"})
    result = imported(tmp_path, context, dict(small_backbone("vgg16").state_dict()), config)
    assert load_checkpoint(result.checkpoint.path)[0].pixels == ImagePixels()


def test_a_network_that_does_not_fit_is_refused_with_its_keys(tmp_path: Path, context: LocalContext) -> None:
    upload = tmp_path / "upload"
    upload.mkdir()
    torch.save(small_backbone("vgg16", norm="none").state_dict(), upload / "plain.pth")
    error = refusal(upload, context)
    assert error.reason is Reason.weights_mismatch
    assert "plain.pth doesn't fit vgg16" in str(error)
    assert "missing: features.1.weight" in str(error)


def test_unused_keys_are_refused_unless_allowed(tmp_path: Path, context: LocalContext) -> None:
    weights = dict(small_backbone("vgg16").state_dict()) | {"projector.weight": torch.zeros(3)}
    with pytest.raises(StageError, match=r"1 unexpected: projector\.weight"):
        imported(tmp_path, context, weights)
    result = imported(tmp_path, context, weights, CONFIG.model_copy(update={"allow_unused": True}))
    assert result.checkpoint.summary["training"]["keys_unused"] == 1
    assert any("projector.weight" in message for message in context.messages)


def test_a_file_of_something_else_is_refused(tmp_path: Path, context: LocalContext) -> None:
    upload = tmp_path / "upload"
    upload.mkdir()
    (upload / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0 no weights")
    error = refusal(upload, context)
    assert error.reason is Reason.bad_weights
    assert "cat.jpg" in str(error)


@pytest.mark.parametrize("files", [0, 2])
def test_an_upload_is_one_file(tmp_path: Path, context: LocalContext, files: int) -> None:
    upload = tmp_path / "upload"
    upload.mkdir()
    for number in range(files):
        save_file(small_backbone("vgg16").state_dict(), upload / f"{number}.safetensors")
    error = refusal(upload, context)
    assert error.reason is Reason.bad_weights
    assert f"{files} files" in str(error)
