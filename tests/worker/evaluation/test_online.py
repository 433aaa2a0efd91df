from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.backbone import build_backbone
from models.pixels import ImagePixels
from tests.worker.stages.feature_sets import small_store
from tests.worker.stages.networks import SMALL_ALEXNET
from worker.data.store import ImageStore, write_store
from worker.evaluation.online import MOST_IMAGES, online_knn, online_split
from worker.evaluation.taps import View

CPU = torch.device("cpu")
VIEW = View(70, 64)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    """Stripes along and across, which edges tell apart."""
    rng = np.random.default_rng(0)
    stripes = np.where(np.arange(70) // 4 % 2 == 0, 150, 0)
    kinds = np.stack([np.broadcast_to(stripes, (70, 70)), np.broadcast_to(stripes[:, None], (70, 70))])
    kind = np.arange(60) % 2
    images = kinds[kind][..., None] + rng.integers(0, 100, (60, 70, 70, 3))
    names = [["along", "across"][one] for one in kind]
    write_store(tmp_path / "store", images.astype(np.uint8), [f"{index}.png" for index in range(60)], names)
    return ImageStore.open(tmp_path / "store")


def test_tells_what_nearest_neighbours_tell(store: ImageStore) -> None:
    torch.manual_seed(0)
    split = online_split(store, seed=0)
    assert split is not None
    share = online_knn(build_backbone(SMALL_ALEXNET).eval(), ImagePixels(), store, split, VIEW, "conv2", CPU)
    assert share == 1
    meaningless = replace(split, labels=np.random.default_rng(0).permutation(split.labels))
    network = build_backbone(SMALL_ALEXNET).eval()
    assert online_knn(network, ImagePixels(), store, meaningless, VIEW, "conv2", CPU) < 0.9


def test_a_training_goes_on_as_if_nobody_had_looked(store: ImageStore) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(SMALL_ALEXNET).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    random = torch.get_rng_state()
    split = online_split(store, seed=0)
    assert split is not None
    online_knn(backbone, ImagePixels(), store, split, VIEW, "conv4", CPU)
    assert all(layer.training for layer in backbone.modules())
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


def test_takes_a_bounded_number_of_images(tmp_path: Path) -> None:
    store = small_store(tmp_path / "many", 2400, 2, [str(index % 3) for index in range(2400)])
    split = online_split(store, seed=0)
    assert split is not None
    assert len(split.images) == MOST_IMAGES
    assert 0.2 < split.held_out.mean() < 0.3


def test_without_labels_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    assert online_split(small_store(tmp_path / "plain", 12), seed=0) is None
