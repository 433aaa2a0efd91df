import pytest
from pydantic import ValidationError

from models.config import Arch, BackboneConfig


def test_own_networks_are_told_with_their_settings() -> None:
    config = BackboneConfig(arch="vgg16", width=0.5)
    assert config.arch is Arch.vgg16
    assert (config.library, config.is_alexnet, config.told) == (None, False, "vgg16, width 0.5, norm batch")


@pytest.mark.parametrize("arch", ["torchvision:resnet18", "timm:mobilenetv3_small_050.lamb_in1k"])
def test_a_library_s_network_is_told_by_its_name(arch: str) -> None:
    config = BackboneConfig(arch=arch)
    assert BackboneConfig.model_validate_json(config.model_dump_json()) == config
    assert (config.library, config.is_alexnet, config.told) == (arch.partition(":")[0], False, arch)


@pytest.mark.parametrize("arch", ["resnet18", "keras:vgg", "timm:", "timm:hf-hub:someone/net", "timm:../net", ""])
def test_other_names_are_refused(arch: str) -> None:
    with pytest.raises(ValidationError):
        BackboneConfig(arch=arch)


@pytest.mark.parametrize("setting", [{"width": 0.5}, {"norm": "none"}, {"conv1_stride": 2}])
def test_a_library_s_network_has_no_settings(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="taken as it is"):
        BackboneConfig.model_validate({"arch": "torchvision:resnet18", **setting})
