import math

import numpy as np
import pytest
import torch

from models.pixels import ImagenetPixels
from tests.worker.pretext.learning import drawn_images, losses_by_heart, task_of
from worker.config.pretext.rotation import RotationConfig
from worker.pretext.rotation import RotationTask
from worker.stages.randomness import torch_generator


def _task(**settings: object) -> RotationTask:
    task = task_of(RotationConfig.model_validate({"crop": 32, "width": 64, "dropout": 0.0, **settings}))
    assert isinstance(task, RotationTask)
    return task


def _quarter_turned(image: np.ndarray, turns: int) -> np.ndarray:
    """(h, w, 3), pixel by pixel: what was at the right comes to the top."""
    for _ in range(turns):
        side = len(image)
        image = np.array([[image[x, side - 1 - y] for x in range(side)] for y in range(side)])
    return image


def test_every_image_is_seen_in_all_four_turns() -> None:
    images = drawn_images(3, 32)
    turned, turns = _task(flip=False, side=32).turned(images, torch_generator(0, "test"))
    assert turns.tolist() == [0, 1, 2, 3] * 3
    for number, (found, turn) in enumerate(zip(turned, turns.tolist(), strict=True)):
        expected = _quarter_turned(images[number // 4].permute(1, 2, 0).numpy(), turn)
        assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_one_turn_an_image_is_drawn_evenly() -> None:
    images = drawn_images(1, 32).expand(400, -1, -1, -1)
    turned, turns = _task(all_turns=False, flip=False, side=32).turned(images, torch_generator(0, "test"))
    assert len(turned) == len(turns) == 400
    assert all(70 <= int((turns == turn).sum()) <= 130 for turn in range(4))
    assert torch.equal(turned[0], torch.rot90(images[0], int(turns[0]), dims=(1, 2)))


def test_the_network_sees_the_pixels_a_student_sees() -> None:
    task = _task(flip=False, side=32)
    images = drawn_images(2, 32)
    (inputs,) = task.make(images, torch_generator(0, "test")).inputs
    assert torch.equal(inputs[0], ImagenetPixels().apply(images)[0])


def test_sixty_four_images_are_learnt_by_heart() -> None:
    losses = losses_by_heart(_task(), drawn_images(), steps=30)
    assert losses[0] == pytest.approx(math.log(4), abs=0.2)
    assert losses[-1] < 0.05


def test_a_picture_shows_the_turned_image_and_says_how_far() -> None:
    pictures = _task(side=48).pictures(drawn_images(5), torch_generator(0, "test"))
    assert len(pictures) == 5
    assert all(picture.width >= 32 and picture.height > 32 for picture in pictures)
