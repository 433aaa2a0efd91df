import math
from pathlib import Path

import pytest
import torch

from models.pixels import ImagePixels
from tests.worker.pretext.learning import drawn_images, losses_by_heart, task_of
from tests.worker.stages.striped import striped_store
from worker.config.pretext.context import ContextConfig
from worker.data.store import ImageStore
from worker.pretext.context import ContextTask
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext

SMALL = {"fc6": 32, "fc7": 64, "dropout": 0.0}


def _task(**settings: object) -> ContextTask:
    task = task_of(ContextConfig.model_validate({"head": SMALL, **settings}))
    assert isinstance(task, ContextTask)
    return task


def _warnings(task: ContextTask, folder: Path) -> list[str]:
    context = LocalContext(folder / "work")
    task.prepare(ImageStore.open(striped_store(folder / "store", 4, 48)), context)
    return context.messages


def test_the_network_sees_two_patches_of_each_image() -> None:
    task = _task()
    examples = task.make(drawn_images(5), torch_generator(0, "test"))
    assert examples.inputs[0].shape == (10, 3, 15, 15)
    assert examples.targets[0].shape == (5,)
    assert task.network(*examples.inputs).shape == (5, 8)
    assert task.pixels == ImagePixels()


def test_both_patches_count_in_their_order() -> None:
    task = _task()
    task.network.eval()
    (patches,) = task.make(drawn_images(5), torch_generator(0, "test")).inputs
    swapped = patches.view(5, 2, 3, 15, 15).flip(1).flatten(0, 1)
    assert not torch.allclose(task.network(patches), task.network(swapped))


@pytest.mark.parametrize("colour", ["drop", "projection"])
def test_sixty_four_images_are_learnt_by_heart(colour: str) -> None:
    losses = losses_by_heart(_task(colour=colour), drawn_images(), steps=50, optimizer="adam", lr=0.003)
    assert losses[0] == pytest.approx(math.log(8), abs=0.2)
    assert losses[-1] < 0.1


def test_open_shortcuts_are_warned_of(tmp_path: Path) -> None:
    assert _warnings(_task(), tmp_path / "guarded") == []
    messages = _warnings(_task(colour="keep", gap=0), tmp_path / "open")
    assert len(messages) == 2
    assert "chromatic aberration" in messages[0]
    assert "gap" in messages[1]


def test_a_picture_shows_the_image_and_its_pair() -> None:
    pictures = _task(pairs_per_image=2).pictures(drawn_images(5), torch_generator(0, "test"))
    assert len(pictures) == 5
    assert all(picture.width >= 48 + 2 * 15 and picture.height > 48 for picture in pictures)
