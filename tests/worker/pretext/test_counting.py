import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels
from tests.worker.pretext.learning import drawn_images, losses_by_heart, task_of
from worker.config.pretext.counting import CountingConfig
from worker.pretext.counting import CountingTask, counted
from worker.stages.randomness import torch_generator


def _task(**settings: object) -> CountingTask:
    task = task_of(CountingConfig.model_validate({"width": 64, "counts": 64, **settings}))
    assert isinstance(task, CountingTask)
    return task


def test_the_papers_sizes_come_from_256_pixels_and_scale() -> None:
    assert CountingConfig().resolved(256).crop == 228
    assert CountingConfig().resolved(48).crop == 42
    assert CountingConfig(crop=40).resolved(48).crop == 40


@pytest.mark.parametrize("settings", [{"crop": 41}, {"side": 40, "crop": 42}, {"filters": []}])
def test_crops_that_have_no_half_or_no_room_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CountingConfig.model_validate(settings)


def test_tiles_lie_in_reading_order_and_the_half_shows_all_of_them() -> None:
    images = drawn_images(3, 48)
    halves, tiles = _task(flip=False, grey=0, crop=48, filters=["box"]).cut(images, torch_generator(0, "test"))
    for image, half, own in zip(images.numpy(), halves, tiles, strict=True):
        corners = [(0, 0), (0, 24), (24, 0), (24, 24)]
        for tile, (top, left) in zip(own, corners, strict=True):
            assert np.array_equal(tile.numpy(), image[:, top : top + 24, left : left + 24])
        for y, x in [(0, 0), (5, 17), (23, 23)]:
            mean = image[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean(axis=(1, 2))
            assert half[:, y, x].numpy() == pytest.approx(mean, abs=1e-3)


def test_all_filters_are_drawn() -> None:
    images = drawn_images(1, 48).expand(60, -1, -1, -1)
    halves, _ = _task(flip=False, grey=0, crop=48).cut(images, torch_generator(0, "test"))
    assert len(torch.unique(halves.round(decimals=1), dim=0)) == 4


def test_the_drawn_share_is_grey_in_tiles_and_half_alike() -> None:
    images = drawn_images(1, 48).expand(300, -1, -1, -1)
    halves, tiles = _task().cut(images, torch_generator(0, "test"))
    grey_half = (halves[:, :1] - halves).abs().amax((1, 2, 3)) < 1e-3
    grey_tiles = (tiles[:, :, :1] == tiles).flatten(1).all(1)
    assert torch.equal(grey_half, grey_tiles)
    assert 0.57 < float(grey_tiles.float().mean()) < 0.77


def test_the_network_sees_halves_before_tiles_in_the_pixels_a_student_sees() -> None:
    task = _task()
    images = drawn_images(5)
    halves, tiles = task.cut(images, torch_generator(0, "test"))
    examples = task.make(images, torch_generator(0, "test"))
    (seen,), (others,) = examples.inputs, examples.targets
    assert torch.equal(seen[:5], ImagenetPixels().apply(halves))
    assert torch.equal(seen[5 + 4 * 3 + 2], ImagenetPixels().apply(tiles[3, 2:3])[0])
    assert all(0 <= other < 5 and other != own for own, other in enumerate(others.tolist()))


def test_the_loss_is_the_papers() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.rand((3 * 5, 6), generator=generator) * 3
    others = [2, 0, 1]
    expected = 0.0
    for image, other in enumerate(others):
        total = [sum(float(counts[3 + 4 * image + tile, c]) for tile in range(4)) for c in range(6)]
        near = sum((float(counts[image, c]) - total[c]) ** 2 for c in range(6))
        far = sum((float(counts[other, c]) - total[c]) ** 2 for c in range(6))
        expected += (near + max(0.0, 40 - far)) / 3
    scored = counted(counts, torch.tensor(others), margin=40)
    assert scored.loss.item() == pytest.approx(expected, rel=1e-5)
    assert scored.answers == 3


@pytest.mark.parametrize("constant", [0.0, 0.05, 0.5])
def test_counts_that_do_not_look_cost_the_margin_at_least(constant: float) -> None:
    task = _task()
    assert task.chance_loss == 10
    loss = counted(torch.full((20, 8), constant), torch.tensor([1, 2, 3, 0]), margin=10).loss
    assert loss.item() >= 10 - 1e-5


@pytest.mark.parametrize("arch", list(Arch))
def test_every_backbone_counts_none_below_zero(arch: Arch) -> None:
    config = CountingConfig(width=64, counts=8)
    task = task_of(config, backbone=BackboneConfig(arch=arch, width=0.125))
    counts = task.network(*task.make(drawn_images(4), torch_generator(0, "test")).inputs)
    assert counts.shape == (20, 8)
    assert bool((counts >= 0).all())


def test_sixty_four_images_are_learnt_by_heart() -> None:
    task = task_of(CountingConfig(width=64, counts=64), backbone=BackboneConfig(arch=Arch.alexnet, width=0.125))
    losses = losses_by_heart(task, drawn_images(), steps=60, optimizer="adam", lr=1e-3)
    assert losses[0] > 9
    assert losses[-1] < 0.2


def test_a_picture_shows_the_half_beside_the_tiles() -> None:
    pictures = _task(crop=40).pictures(drawn_images(3), torch_generator(0, "test"))
    assert len(pictures) == 3
    assert all(picture.width >= 3 * 20 and picture.height > 2 * 20 for picture in pictures)
