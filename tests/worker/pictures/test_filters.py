import numpy as np
import pytest

from models.backbone import build_backbone
from models.config import Arch, BackboneConfig
from worker.pictures.filters import COLUMNS, filter_picture, first_filters, stretched


@pytest.mark.parametrize(
    ("arch", "shape"),
    [(Arch.alexnet, (96, 11, 11, 3)), (Arch.alexnet_torchvision, (64, 11, 11, 3)), (Arch.vgg16, (64, 3, 3, 3))],
)
def test_the_first_layer_of_every_network_can_be_seen(arch: Arch, shape: tuple[int, ...]) -> None:
    backbone = build_backbone(BackboneConfig(arch=arch))
    filters = first_filters(backbone)
    assert filters.shape == shape
    np.testing.assert_array_equal(filters[3, :, :, 1], backbone.features[0].weight.detach()[3, 1])


def test_each_filter_uses_its_own_full_range() -> None:
    values = np.linspace(-3, 5, 27, dtype=np.float32).reshape(3, 3, 3)
    assert (stretched(values).min(), stretched(values).max()) == (0, 255)
    np.testing.assert_array_equal(stretched(values), stretched(values * 1000 - 4))


def test_a_constant_filter_is_grey() -> None:
    assert (stretched(np.full((3, 3, 3), 0.7, np.float32)) == 128).all()


def test_panels_stand_side_by_side() -> None:
    panel = np.random.default_rng(0).normal(size=(2 * COLUMNS, 11, 11, 3)).astype(np.float32)
    alone, beside = filter_picture({"student": panel}), filter_picture({"student": panel, "teacher": panel})
    assert beside.height == alone.height
    assert beside.width > 1.9 * alone.width
    left, right = np.asarray(beside)[40:, : beside.width // 2], np.asarray(beside)[40:, beside.width // 2 :]
    assert left.std() > 20
    assert right.std() > 20
