from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker.pretext.learning import task_of
from tests.worker.stages.striped import striped_store
from worker.config.pretext.bigan import BiganConfig
from worker.config.pretext.jigsaw import JigsawPlusConfig
from worker.config.pretext.rotation import RotationConfig
from worker.data.loader import read_batch
from worker.data.store import ImageStore
from worker.pictures.preview import preview
from worker.pictures.tensor_image import GAP
from worker.stages.randomness import torch_generator


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(striped_store(tmp_path / "store", 12, 60))


def test_the_same_seed_gives_the_same_picture(store: ImageStore) -> None:
    task = task_of(JigsawPlusConfig())
    one, again, other = (np.asarray(preview(task, store, 48, seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_pictures_stand_in_two_columns(store: ImageStore) -> None:
    task = task_of(RotationConfig())
    pictures = task.pictures(read_batch(store, np.arange(5), 48), torch_generator(0, "test"))
    shown = preview(task, store, 48, seed=0, count=5)
    assert shown.width == 2 * max(picture.width for picture in pictures) + GAP
    assert shown.height == 3 * pictures[0].height + 2 * GAP


def test_fewer_images_make_a_smaller_picture(tmp_path: Path, store: ImageStore) -> None:
    few = ImageStore.open(striped_store(tmp_path / "few", 2, 48))
    task = task_of(RotationConfig())
    assert preview(task, few, 48, seed=0).height < preview(task, store, 48, seed=0).height


def test_the_network_and_the_global_generator_stay_as_they_are(store: ImageStore) -> None:
    task = task_of(BiganConfig(made=16, width=32, channels=8))
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    drawn = torch.get_rng_state()
    preview(task, store, 48, seed=3)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in task.network.state_dict().items())
