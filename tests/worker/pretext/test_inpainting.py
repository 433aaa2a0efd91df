import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels
from tests.worker.pretext.coloured import coloured_images
from tests.worker.pretext.learning import drawn_images, losses_by_heart, task_of
from tests.worker.stages.striped import striped_store
from worker.config.pretext.inpainting import InpaintingConfig
from worker.data.store import ImageStore
from worker.pretext.inpainting import InpaintingTask
from worker.stages.contract import Stopped
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext


def _task(**settings: object) -> InpaintingTask:
    task = task_of(InpaintingConfig.model_validate({"flip": False, **settings}))
    assert isinstance(task, InpaintingTask)
    return task


def test_a_hole_in_the_middle() -> None:
    _, mask = _task(crop=40, mask="centre", hole=20).masked(drawn_images(3), torch_generator(0, "test"))
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[10:30, 10:30] = True
    assert all(torch.equal(each, expected) for each in mask[:, 0])


def test_random_blocks_are_whole_squares_and_every_image_has_its_own() -> None:
    _, mask = _task(crop=40, blocks=1, smallest=6, largest=9).masked(drawn_images(200), torch_generator(0, "test"))
    seen = set()
    for each in mask[:, 0]:
        rows, columns = each.any(1).nonzero().flatten(), each.any(0).nonzero().flatten()
        top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
        assert 6 <= bottom - top + 1 == right - left + 1 <= 9
        assert int(each.sum()) == (bottom - top + 1) ** 2
        seen.add((top, left))
    assert len(seen) > 150
    assert min(top for top, _ in seen) == 0
    assert max(left for _, left in seen) >= 40 - 8


def test_several_blocks_may_overlap() -> None:
    _, mask = _task(crop=40, blocks=8, smallest=10, largest=10).masked(drawn_images(50), torch_generator(0, "test"))
    hidden = mask.sum((1, 2, 3))
    assert (hidden <= 8 * 100).all()
    assert (hidden < 8 * 100).any()
    assert (hidden >= 100).all()


def _area_mean(values: np.ndarray, side: int) -> np.ndarray:
    """(c, h, w) -> (c, side, side): the mean of all pixels that a cell touches."""
    height = values.shape[-1]
    edges = [(math.floor(n * height / side), math.ceil((n + 1) * height / side)) for n in range(side)]
    cells = [[values[:, top:low, left:right].mean((1, 2)) for left, right in edges] for top, low in edges]
    return np.array(cells).transpose(2, 0, 1)


def test_inputs_have_holes_and_targets_are_the_image_made_smaller() -> None:
    task = _task()
    images = drawn_images(3)
    examples = task.make(images, torch_generator(0, "test"))
    crops, mask = task.masked(images, torch_generator(0, "test"))
    pixels = ImagenetPixels().apply(crops)
    target, hidden = examples.targets
    for number in range(3):
        expected = np.where(mask[number].numpy(), 0.0, pixels[number].numpy())
        np.testing.assert_array_equal(examples.inputs[0][number], expected)
        np.testing.assert_allclose(target[number], _area_mean(pixels[number].numpy(), 32), atol=1e-5)
        np.testing.assert_allclose(hidden[number], _area_mean(mask[number].numpy().astype(float), 32), atol=1e-6)


def test_only_what_is_hidden_counts() -> None:
    task = _task()
    target, hidden = task.make(drawn_images(4), torch_generator(0, "test")).targets
    told = target + torch.randn(target.shape, generator=torch_generator(0, "noise"))
    weighted = [
        (float(hidden[n, 0, y, x]), float(((told[n, :, y, x] - target[n, :, y, x]) ** 2).mean()))
        for n in range(4)
        for y in range(32)
        for x in range(32)
    ]
    expected = sum(weight * squared for weight, squared in weighted) / sum(weight for weight, _ in weighted)
    assert float(task.score((told,), (target, hidden)).loss) == pytest.approx(expected, rel=1e-4)
    elsewhere = torch.where(hidden == 0, 1e3, target)
    assert float(task.score((elsewhere,), (target, hidden)).loss) == 0


def test_chance_is_the_loss_of_the_mean_colour(tmp_path: Path) -> None:
    store = ImageStore.open(striped_store(tmp_path / "store", 200, 48))
    task = _task()
    context = LocalContext(tmp_path / "work")
    task.prepare(store, context)
    images = torch.from_numpy(np.array(store.images)).permute(0, 3, 1, 2)
    target, hidden = task.make(images, torch_generator(1, "other holes")).targets
    mean = (target * hidden).sum((0, 2, 3), keepdim=True) / hidden.sum()
    blind = task.score((mean.expand_as(target),), (target, hidden))
    assert task.chance_loss == pytest.approx(float(blind.loss), rel=0.03)
    assert "mean colour" in context.messages[0]


def test_looking_at_the_images_can_be_stopped(tmp_path: Path) -> None:
    store = ImageStore.open(striped_store(tmp_path / "store", 8, 48))
    with pytest.raises(Stopped):
        _task().prepare(store, LocalContext(tmp_path / "work", stop_after=0))


def test_sixty_four_images_are_learnt_by_heart() -> None:
    alexnet = BackboneConfig(arch=Arch.alexnet, width=0.125, conv1_stride=2)
    task = task_of(InpaintingConfig(width=32), backbone=alexnet)
    losses = losses_by_heart(task, coloured_images(), steps=90, optimizer="adam", lr=0.005, weight_decay=0.0)
    assert losses[0] > 1
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    ("arch", "target_side"), [(Arch.alexnet, 96), (Arch.alexnet_torchvision, 96), (Arch.vgg16, 128)]
)
def test_the_sizes_of_a_large_image(arch: Arch, target_side: int) -> None:
    task = task_of(InpaintingConfig(), 256, BackboneConfig(arch=arch, width=0.125))
    assert task.crop == 227
    assert task.facts() == {"target_side": target_side}
    examples = task.make(drawn_images(2, 256), torch_generator(0, "test"))
    assert task.network(*examples.inputs).shape == examples.targets[0].shape == (2, 3, target_side, target_side)


def test_holes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="smallest"):
        InpaintingConfig(crop=40, smallest=10, largest=9, hole=5)
    with pytest.raises(ValidationError, match="hole"):
        InpaintingConfig(crop=40, smallest=2, largest=9, hole=40)


def test_a_picture_shows_the_holes_and_what_belongs_there() -> None:
    pictures = _task().pictures(drawn_images(5), torch_generator(0, "test"))
    assert len(pictures) == 5
    assert all(picture.width >= 2 * 43 and picture.height > 43 for picture in pictures)
