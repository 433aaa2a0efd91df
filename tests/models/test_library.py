"""Networks of torchvision and timm beside the libraries' own code."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from models.backbone import build_backbone, empty_backbone, map_shape
from models.checkpoint import CheckpointError, CheckpointRecord, load_checkpoint, save_checkpoint
from models.config import BackboneConfig
from models.exporting import folded_backbone, write_safetensors
from models.importing import WeightsMismatch, import_backbone
from models.library import LibraryBackbone, NoSuchNetwork
from models.load import load_backbone
from models.pixels import ImagenetPixels
from tests.models.nets import noise

RESNET = BackboneConfig(arch="torchvision:resnet18")


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Batch norms away from their start, so that forgetting one shows."""
    generator = torch.Generator().manual_seed(3)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    for key, value in weights.items():
        if "running_mean" in key:
            value.normal_(std=0.1, generator=generator)
        elif "running_var" in key:
            value.uniform_(0.5, 2, generator=generator)
    return weights


def theirs(arch: str) -> nn.Module:
    torch.manual_seed(0)
    library, name = arch.split(":")
    network: nn.Module = get_model(name) if library == "torchvision" else timm.create_model(name)
    network.load_state_dict(weights_of(network))
    return network.eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return theirs("torchvision:resnet18")


@pytest.fixture(scope="module")
def imported(resnet: nn.Module) -> LibraryBackbone:
    backbone, _ = import_backbone(RESNET, resnet.state_dict())
    assert isinstance(backbone, LibraryBackbone)
    return backbone


@torch.no_grad()
def test_taps_are_what_torchvisions_own_extractor_gives(resnet: nn.Module, imported: LibraryBackbone) -> None:
    names = ["layer1.0.bn2", "layer1", "layer2.1.conv1", "layer3", "layer4"]
    found = imported.taps(noise(2, 96), names)
    expected = create_feature_extractor(resnet, names)(noise(2, 96))
    assert found.keys() == expected.keys()
    for name in names:
        assert torch.equal(found[name], expected[name])


@torch.no_grad()
def test_a_tap_is_the_same_alone_and_beside_deeper_ones(imported: LibraryBackbone) -> None:
    """Residual sums and ReLUs write into the maps before them."""
    names = ["bn1", "layer2.0.bn2"]
    together = imported.taps(noise(1, 96), [*names, "layer4"])
    for name in names:
        assert torch.equal(imported.taps(noise(1, 96), [name])[name], together[name])


@torch.no_grad()
def test_a_module_that_runs_twice_gives_its_last_map(resnet: nn.Module, imported: LibraryBackbone) -> None:
    expected = create_feature_extractor(resnet, ["layer2.0.relu_1"])(noise(1, 96))["layer2.0.relu_1"]
    assert torch.equal(imported.taps(noise(1, 96), ["layer2.0.relu"])["layer2.0.relu"], expected)


def test_asked_for_one_tap_no_deeper_module_runs(imported: LibraryBackbone) -> None:
    ran: list[str] = []
    handles = [
        getattr(imported.network, name).register_forward_hook(lambda *_, name=name: ran.append(name))
        for name in ("layer1", "layer2", "layer3", "layer4")
    ]
    imported.taps(noise(1, 64), ["layer2"])
    for handle in handles:
        handle.remove()
    assert ran == ["layer1", "layer2"]


def test_another_name_is_no_tap(imported: LibraryBackbone) -> None:
    for name in ("conv4", "avgpool", "fc", "layer9"):
        with pytest.raises(KeyError, match=name):
            imported.taps(noise(1, 64), [name])


def test_taps_are_told_with_their_channels(imported: LibraryBackbone) -> None:
    assert imported.told_taps().startswith("conv1, bn1, relu, maxpool, layer1.0, layer1.1, layer1, layer2.0")
    assert {name: imported.tap_channels[name] for name in ("conv1", "layer3", "layer3.0.downsample.1")} == {
        "conv1": 64,
        "layer3": 256,
        "layer3.0.downsample.1": 256,
    }
    assert (imported.last_tap, imported.out_channels) == ("layer4", 512)
    assert imported.left_out == ("avgpool", "fc")


@pytest.mark.parametrize(
    ("arch", "last", "channels"),
    [
        ("torchvision:mobilenet_v3_small", "features", 576),
        ("torchvision:shufflenet_v2_x0_5", "conv5", 1024),
        ("timm:resnet18", "layer4", 512),
        ("timm:mobilenetv3_small_050.lamb_in1k", "blocks", 288),
    ],
)
@torch.no_grad()
def test_the_output_is_the_library_network_s_last_map(arch: str, last: str, channels: int) -> None:
    network = theirs(arch)
    backbone, report = import_backbone(BackboneConfig(arch=arch), network.state_dict())
    seen: list[Tensor] = []
    network.get_submodule(last).register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    network(noise(2, 96))
    assert torch.equal(backbone(noise(2, 96)), seen[0])
    assert (backbone.last_tap, backbone.out_channels) == (last, channels)
    assert report.ignored
    assert set(report.loaded) | set(report.ignored) == set(network.state_dict())


def test_map_shapes_are_found_without_computing() -> None:
    assert map_shape(RESNET, 128) == (512, 4, 4)
    assert map_shape(RESNET, 100, "layer3") == (256, 7, 7)


def test_an_empty_network_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    empty_backbone(RESNET)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_gives_the_same_weights() -> None:
    torch.manual_seed(5)
    one = build_backbone(RESNET).state_dict()
    torch.manual_seed(5)
    other = build_backbone(RESNET).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_down_to_its_first_layer() -> None:
    backbone = build_backbone(RESNET)
    assert backbone.training
    backbone(noise(2, 64)).square().mean().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in backbone.parameters())


def test_a_checkpoint_is_saved_and_loaded(tmp_path: Path, imported: LibraryBackbone) -> None:
    record = CheckpointRecord(role="teacher", backbone=RESNET, crop=96, pixels=ImagenetPixels(), classes=0)
    save_checkpoint(tmp_path, record, imported, None)
    loaded_record, loaded = load_checkpoint(tmp_path)
    assert loaded_record == record
    assert torch.equal(loaded(noise(1, 96)), imported(noise(1, 96)))


def test_weights_are_exported_under_the_library_s_names(
    tmp_path: Path, resnet: nn.Module, imported: LibraryBackbone
) -> None:
    record = CheckpointRecord(role="teacher", backbone=RESNET, crop=96, pixels=ImagenetPixels(), classes=0)
    folded_record, folded = folded_backbone(record, imported)
    write_safetensors(tmp_path / "teacher.safetensors", folded_record, dict(folded.published.state_dict()))
    loaded = load_backbone(tmp_path / "teacher.safetensors")
    assert torch.equal(loaded(noise(1, 96)), imported(noise(1, 96)))
    assert set(loaded.published.state_dict()) <= set(resnet.state_dict())


def test_an_import_lists_what_is_missing_unexpected_and_of_another_shape(resnet: nn.Module) -> None:
    weights = dict(resnet.state_dict())
    del weights["layer2.0.conv1.weight"]
    weights["projector.weight"] = torch.zeros(2)
    weights["bn1.bias"] = torch.zeros(7)
    with pytest.raises(WeightsMismatch) as caught:
        import_backbone(RESNET, weights)
    assert caught.value.report.missing == ["layer2.0.conv1.weight"]
    assert caught.value.report.unexpected == ["projector.weight"]
    assert caught.value.report.wrong_shape == ["bn1.bias (file 7, network 64)"]


def test_a_classifier_of_any_size_is_ignored(resnet: nn.Module) -> None:
    weights = dict(resnet.state_dict()) | {"fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)}
    assert import_backbone(RESNET, weights)[1].ignored == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("arch", "sentence"),
    [
        ("torchvision:resnet19", "no classifier 'resnet19'"),
        ("torchvision:fcn_resnet50", "no classifier 'fcn_resnet50'"),
        ("timm:resnet19", "no network 'resnet19'"),
        ("timm:resnet18.nobody", "no network 'resnet18.nobody'"),
        ("timm:test_vit", "makes no maps"),
        ("timm:vit_tiny_patch16_224", "doesn't take images of any size"),
    ],
)
def test_what_makes_no_maps_is_refused(arch: str, sentence: str) -> None:
    with pytest.raises(NoSuchNetwork, match=sentence):
        empty_backbone(BackboneConfig(arch=arch))


def test_without_timm_its_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NoSuchNetwork, match="the extra `timm`"):
        empty_backbone(BackboneConfig(arch="timm:resnet18"))


def test_an_exported_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "file")
    with pytest.raises(CheckpointError):
        load_backbone(tmp_path / "file")
