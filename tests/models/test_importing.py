import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import alexnet
from torchvision.models.vgg import cfgs, make_layers

from models.config import Arch, BackboneConfig
from models.importing import BadWeights, WeightsMismatch, import_backbone, read_weights
from tests.models.nets import lived_in, noise, small_backbone


def weights_of(arch: str = "alexnet", norm: str = "batch") -> dict[str, Tensor]:
    return dict(small_backbone(arch, norm).state_dict())


CONFIG = small_backbone("alexnet").config


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_a_state_dict_is_read(tmp_path: Path, nest: str | None) -> None:
    weights = weights_of()
    torch.save({nest: weights, "epoch": 3} if nest else OrderedDict(weights), tmp_path / "file")
    read = read_weights(tmp_path / "file")
    assert all(torch.equal(read[key], value) for key, value in weights.items())


def test_safetensors_are_read_whatever_their_name(tmp_path: Path) -> None:
    save_file(weights_of(), tmp_path / "weights.bin")
    assert read_weights(tmp_path / "weights.bin").keys() == weights_of().keys()


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    torch.save({key: value.half() for key, value in weights_of(norm="none").items()}, tmp_path / "half.pth")
    assert {value.dtype for value in read_weights(tmp_path / "half.pth").values()} == {torch.float32}


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Code()}, tmp_path / "evil.pth")
    with pytest.raises(BadWeights, match="without code"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x10\0\0\0\0\0\0\0{broken", b"PK\x03\x04 and no more"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadWeights):
        read_weights(tmp_path / "file")


@pytest.mark.parametrize("content", [[1, 2], {"features.0.weight": "text"}, {}])
def test_a_file_without_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "file")
    with pytest.raises(BadWeights):
        read_weights(tmp_path / "file")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = weights_of()
    weights["features.0.weight"][0, 0, 0, 0] = torch.nan
    save_file(weights, tmp_path / "file")
    with pytest.raises(BadWeights, match=re.escape("not finite: features.0.weight")):
        read_weights(tmp_path / "file")


def test_torchvisions_alexnet_gives_equal_features() -> None:
    theirs = lived_in(alexnet(num_classes=3))
    config = BackboneConfig(arch=Arch.alexnet_torchvision, norm="none")
    ours, report = import_backbone(config, theirs.state_dict())
    images = noise(1, 127)
    assert torch.equal(ours(images), theirs.features(images))
    assert len(report.loaded) == 10
    assert report.ignored == [f"classifier.{n}.{key}" for n in (1, 4, 6) for key in ("weight", "bias")]


def test_torchvisions_vgg16_bn_gives_equal_features() -> None:
    theirs = lived_in(nn.ModuleDict({"features": make_layers(cfgs["D"], batch_norm=True)}))
    weights = {key: value for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    ours, report = import_backbone(BackboneConfig(arch=Arch.vgg16), weights)
    images = noise(1, 64)
    assert torch.equal(ours(images), theirs["features"](images))
    assert len(report.loaded) == 13 * 6
    assert not ours.training


def test_a_prefix_is_taken_off() -> None:
    weights = {f"module.encoder.{key}": value for key, value in weights_of().items()}
    ours, _ = import_backbone(CONFIG, weights, prefix="module.encoder.")
    images = noise(1, 64)
    assert torch.equal(ours(images), small_backbone("alexnet")(images))


def test_a_layer_that_stays_unloaded_is_always_refused() -> None:
    weights = weights_of()
    del weights["features.0.weight"]
    with pytest.raises(WeightsMismatch, match=re.escape("1 missing: features.0.weight")) as caught:
        import_backbone(CONFIG, weights, allow_unused=True)
    assert caught.value.report.missing == ["features.0.weight"]


def test_another_shape_is_always_refused() -> None:
    weights = weights_of() | {"features.0.bias": torch.zeros(5)}
    with pytest.raises(WeightsMismatch, match=re.escape("features.0.bias (file 5, network 16)")):
        import_backbone(CONFIG, weights, allow_unused=True)


def test_a_key_that_fits_nothing_is_refused_unless_allowed() -> None:
    weights = weights_of() | {"projector.weight": torch.zeros(5)}
    with pytest.raises(WeightsMismatch, match=re.escape("1 unexpected: projector.weight")):
        import_backbone(CONFIG, weights)
    _, report = import_backbone(CONFIG, weights, allow_unused=True)
    assert report.unexpected == ["projector.weight"]


def test_a_key_without_the_prefix_is_not_taken() -> None:
    with pytest.raises(WeightsMismatch) as caught:
        import_backbone(CONFIG, weights_of(), prefix="module.", allow_unused=True)
    assert len(caught.value.report.unexpected) == len(weights_of())


def test_a_long_report_is_cut() -> None:
    with pytest.raises(WeightsMismatch, match="and 20 more"):
        import_backbone(CONFIG, {"other.weight": torch.zeros(1)})
