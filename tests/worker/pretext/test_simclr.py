import math
from pathlib import Path

import pytest
import torch

from models.config import Arch, BackboneConfig
from tests.worker.pretext.learning import drawn_images, losses_by_heart, task_of
from tests.worker.stages.striped import striped_store
from worker.config.pretext.simclr import SimclrConfig
from worker.data.store import ImageStore
from worker.pretext.simclr import SimclrTask, matched
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext


def _task(**settings: object) -> SimclrTask:
    task = task_of(SimclrConfig.model_validate({"width": 64, "outputs": 32, **settings}))
    assert isinstance(task, SimclrTask)
    return task


def test_the_loss_is_nt_xent_in_both_directions() -> None:
    projections = torch.randn((6, 4), generator=torch.Generator().manual_seed(0))
    unit = [row / row.norm() for row in projections.double()]
    expected = 0.0
    for own in range(6):
        twin = (own + 3) % 6
        likeness = [math.exp(float(unit[own] @ unit[other]) / 0.2) for other in range(6)]
        expected -= math.log(likeness[twin] / (sum(likeness) - likeness[own])) / 6
    scored = matched(projections, temperature=0.2)
    assert scored.loss.item() == pytest.approx(expected, rel=1e-5)
    assert scored.answers == 6


def test_twins_found_are_counted() -> None:
    directions = torch.eye(4)
    scored = matched(torch.cat([directions, directions[[0, 1, 3, 2]]]), temperature=0.1)
    assert scored.correct is not None
    assert int(scored.correct) == 4


def test_views_that_look_all_the_same_are_told_at_chance() -> None:
    loss = matched(torch.ones((2 * 16, 8)), temperature=0.1).loss
    assert loss.item() == pytest.approx(math.log(31), rel=1e-5)


def test_chance_follows_the_batch_that_the_images_allow(tmp_path: Path) -> None:
    task = _task()
    assert task.chance_loss == pytest.approx(math.log(511))
    task.prepare(ImageStore.open(striped_store(tmp_path / "store", 10, 48)), LocalContext(tmp_path))
    assert task.chance_loss == pytest.approx(math.log(19))
    assert task.classes == 0


def test_the_first_views_of_all_come_before_the_second() -> None:
    task = _task()
    images = drawn_images(3)
    first, second = task.pairs(images, torch_generator(0, "test"))
    (seen,) = task.make(images, torch_generator(0, "test")).inputs
    assert first.shape == second.shape == (3, 3, 43, 43)
    assert torch.equal(seen, task.pixels.apply(torch.cat([first, second])))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("arch", list(Arch))
def test_every_backbone_projects(arch: Arch) -> None:
    task = task_of(SimclrConfig(width=64, outputs=16), backbone=BackboneConfig(arch=arch, width=0.125))
    assert task.network(*task.make(drawn_images(4), torch_generator(0, "test")).inputs).shape == (8, 16)


def test_sixty_four_images_are_learnt_by_heart() -> None:
    config = SimclrConfig(width=128, outputs=64)
    task = task_of(config, backbone=BackboneConfig(arch=Arch.alexnet_torchvision, width=0.25))
    losses = losses_by_heart(task, drawn_images(), steps=60, optimizer="adam", lr=2e-3)
    assert losses[0] > 4
    assert losses[-1] < 0.2


def test_a_picture_shows_the_image_and_two_views() -> None:
    pictures = _task().pictures(drawn_images(3), torch_generator(0, "test"))
    assert len(pictures) == 3
    assert all(picture.width >= 48 + 2 * 43 for picture in pictures)
