import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from models.config import Arch, BackboneConfig
from tests.worker.pretext.coloured import coloured_images
from tests.worker.pretext.learning import losses_by_heart, task_of
from tests.worker.stages.striped import striped_images
from worker.config.pretext.colorization import ColorizationConfig
from worker.data.store import ImageStore, write_store
from worker.pretext.ab_bins import ab_centres, entropy
from worker.pretext.colorization import ColorizationTask
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext

GREY = torch.full((2, 3, 48, 48), 90, dtype=torch.uint8)


def _task(**settings: object) -> ColorizationTask:
    task = task_of(ColorizationConfig.model_validate({"crop": 48, "flip": False, "width": 64, **settings}))
    assert isinstance(task, ColorizationTask)
    return task


def _store(folder: Path, images: np.ndarray) -> ImageStore:
    write_store(folder, images, [f"{number:04}.png" for number in range(len(images))], [None] * len(images))
    return ImageStore.open(folder)


def test_the_network_sees_lightness_alone() -> None:
    images = coloured_images(3)
    (light,) = _task().make(images, torch_generator(0, "test")).inputs
    expected = (rgb2lab(images.permute(0, 2, 3, 1).numpy())[..., 0] - 50) / 25
    for channel in light.unbind(1):
        np.testing.assert_allclose(channel, expected, atol=1e-3)


def test_each_place_is_told_its_five_nearest_colours() -> None:
    """A place is 8 x 8 pixels of 48; its colour is spread by hand."""
    images = coloured_images(2)
    bins, shares, weights = _task().make(images, torch_generator(0, "test")).targets
    assert bins.shape == shares.shape == (2, 5, 6, 6)
    centres = ab_centres().numpy()
    for image, row, column in np.ndindex(2, 6, 6):
        pixels = images[image, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].float().mean((1, 2)) / 255
        ab = rgb2lab(pixels.numpy().astype(np.float64)[None, None])[0, 0, 1:]
        squared = ((centres - ab) ** 2).sum(1)
        nearest = np.argsort(squared)[:5]
        expected = np.zeros(313)
        expected[nearest] = np.exp(squared[nearest] / -50) / np.exp(squared[nearest] / -50).sum()
        found = np.zeros(313)
        found[bins[image, :, row, column]] = shares[image, :, row, column]
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (weights == 1).all()


def test_the_loss_is_the_weighted_cross_entropy() -> None:
    task = _task()
    bins, shares, _ = task.make(coloured_images(2), torch_generator(0, "test")).targets
    generator = torch_generator(0, "logits")
    logits, weights = torch.randn(2, 313, 6, 6, generator=generator), torch.rand(2, 6, 6, generator=generator)
    expected = 0.0
    for image, row, column in np.ndindex(2, 6, 6):
        shown = logits[image, :, row, column].double().softmax(0).log()
        told = shares[image, :, row, column].double() @ shown[bins[image, :, row, column]]
        expected -= float(weights[image, row, column] * told)
    found = task.score((logits,), (bins, shares, weights)).loss
    assert float(found) == pytest.approx(expected / float(weights.sum()), rel=1e-5)


def test_grey_images_teach_nothing_and_break_nothing() -> None:
    task = _task()
    examples = task.make(torch.cat([coloured_images(1), GREY]), torch_generator(0, "test"))
    assert (examples.targets[2][0] > 0).all()
    assert (examples.targets[2][1:] == 0).all()
    only_grey = task.make(GREY, torch_generator(0, "test"))
    scored = task.score((task.network(*only_grey.inputs),), only_grey.targets)
    torch.autograd.backward(scored.loss)
    assert float(scored.loss.detach()) == 0
    assert all(bool((weights.grad == 0).all()) for weights in task.network.parameters() if weights.grad is not None)


def test_chance_and_floor_are_those_of_the_datasets_colours(tmp_path: Path) -> None:
    store = _store(tmp_path / "store", coloured_images(128).permute(0, 2, 3, 1).numpy())
    task = _task()
    task.prepare(store, LocalContext(tmp_path / "work"))
    images = torch.from_numpy(np.array(store.images)).permute(0, 3, 1, 2)
    bins, shares, weights = targets = task.make(images, torch_generator(0, "test")).targets
    spread = torch.zeros(128, 313, 6, 6).scatter_(1, bins, shares)
    mean = (spread * weights[:, None]).sum((0, 2, 3)) / weights.sum()
    constant = mean.clamp_min(1e-9).log().view(1, 313, 1, 1).expand(128, -1, 6, 6)
    assert task.chance_loss == pytest.approx(float(task.score((constant,), targets).loss), rel=1e-3)
    perfect = spread.clamp_min(1e-9).log()
    assert task.facts()["floor_loss"] == pytest.approx(float(task.score((perfect,), targets).loss), rel=1e-3)
    assert task.facts()["floor_loss"] < task.chance_loss < math.log(313)
    assert len(set(weights.flatten().tolist())) > 10


def test_a_prepared_network_starts_at_chance(tmp_path: Path) -> None:
    images = coloured_images()
    task = _task()
    task.prepare(_store(tmp_path / "store", images.permute(0, 2, 3, 1).numpy()), LocalContext(tmp_path / "work"))
    examples = task.make(images, torch_generator(0, "test"))
    with torch.no_grad():
        scored = task.score((task.network(*examples.inputs),), examples.targets)
    assert float(scored.loss) == pytest.approx(task.chance_loss, rel=0.03)


def test_grey_data_is_warned_of(tmp_path: Path) -> None:
    task, context = _task(), LocalContext(tmp_path / "work")
    grey = striped_images(8, 48).mean(3, keepdims=True).repeat(3, 3).astype(np.uint8)
    task.prepare(_store(tmp_path / "grey", grey), context)
    assert "no colour to learn" in context.messages[0]
    assert task.chance_loss is None
    assert task.facts() == {"colour_bins": 313, "sampled_images": 8, "sampled_grey": 8}


def test_sixty_four_images_are_learnt_by_heart() -> None:
    alexnet = BackboneConfig(arch=Arch.alexnet, width=0.125, conv1_stride=2)
    task = task_of(ColorizationConfig(crop=36, width=64, finer=1), backbone=alexnet)
    images = coloured_images()
    _, shares, _ = task.make(images, torch_generator(0, "by heart")).targets
    floor = float(entropy(shares, 1).mean())
    losses = losses_by_heart(task, images, steps=80, optimizer="adam", lr=0.01, weight_decay=0.0)
    assert losses[0] == pytest.approx(math.log(313), abs=0.3)
    assert floor < losses[-1] < floor + 0.1


@pytest.mark.parametrize(("arch", "places"), [(Arch.alexnet, 20), (Arch.alexnet_torchvision, 20), (Arch.vgg16, 24)])
def test_the_sizes_of_a_large_image(arch: Arch, places: int) -> None:
    task = task_of(ColorizationConfig(width=8), 256, BackboneConfig(arch=arch, width=0.125))
    assert task.crop == 180
    examples = task.make(coloured_images(2, 256), torch_generator(0, "test"))
    assert task.network(*examples.inputs).shape == (2, 313, places, places)
    assert examples.targets[0].shape == (2, 5, places, places)


def test_a_picture_shows_the_lightness_and_the_colours() -> None:
    pictures = _task().pictures(coloured_images(5), torch_generator(0, "test"))
    assert len(pictures) == 5
    left = np.array(pictures[0])[:48, :48]
    assert (left == left[..., :1]).all()
    right = np.array(pictures[0])[:48, 50:98]
    assert not (right == right[..., :1]).all()
