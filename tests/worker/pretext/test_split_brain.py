import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from models.checkpoint import load_checkpoint
from models.config import Arch, BackboneConfig
from models.pixels import LabPixels
from tests.worker.pretext.coloured import coloured_images
from tests.worker.pretext.learning import losses_by_heart, task_of
from tests.worker.stages.striped import striped_images, striped_store
from worker.config.pretext.split_brain import SplitBrainConfig
from worker.config.pretrain import PretrainConfig
from worker.config.reasons import Reason
from worker.config.schedule import TrainingSchedule
from worker.data.store import ImageStore, write_store
from worker.pretext.ab_bins import ab_centres
from worker.pretext.split_brain import SplitBrainTask
from worker.stages import pretrain
from worker.stages.contract import StageError
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext

ALEXNET = BackboneConfig(arch=Arch.alexnet, width=0.125, conv1_stride=2)


def _task(backbone: BackboneConfig = ALEXNET, **settings: object) -> SplitBrainTask:
    config = SplitBrainConfig.model_validate({"crop": 48, "flip": False, "width": 64, **settings})
    task = task_of(config, backbone=backbone)
    assert isinstance(task, SplitBrainTask)
    return task


def _store(folder: Path, images: np.ndarray) -> ImageStore:
    write_store(folder, images, [f"{number:04}.png" for number in range(len(images))], [None] * len(images))
    return ImageStore.open(folder)


def test_each_place_is_told_its_nearest_colour_and_its_lightness() -> None:
    """Four places of 24 x 24 pixels."""
    images = coloured_images(4)
    colours, lightnesses = _task(lightness_bins=25).make(images, torch_generator(0, "test")).targets
    assert colours.shape == lightnesses.shape == (4, 4, 4)
    centres = ab_centres().numpy()
    for image, row, column in np.ndindex(4, 4, 4):
        pixels = images[image, :, 12 * row : 12 * row + 12, 12 * column : 12 * column + 12].float().mean((1, 2)) / 255
        lab = rgb2lab(pixels.numpy().astype(np.float64)[None, None])[0, 0]
        assert int(colours[image, row, column]) == ((centres - lab[1:]) ** 2).sum(1).argmin()
        assert int(lightnesses[image, row, column]) == int(lab[0] // 4)


def test_white_falls_into_the_last_bin() -> None:
    white = torch.full((1, 3, 48, 48), 255, dtype=torch.uint8)
    _, lightnesses = _task().make(white, torch_generator(0, "test")).targets
    assert (lightnesses == 49).all()


def test_neither_half_sees_what_it_is_to_tell() -> None:
    task = _task()
    task.network.eval()
    (lab,) = task.make(coloured_images(2), torch_generator(0, "test")).inputs
    colours, lightnesses = task.network(lab)
    without_colour = lab * torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    without_light = lab * torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1)
    torch.testing.assert_close(task.network(without_colour)[0], colours)
    torch.testing.assert_close(task.network(without_light)[1], lightnesses)
    assert colours.shape == (2, 313, 4, 4)
    assert lightnesses.shape == (2, 50, 4, 4)


def test_sixty_four_images_are_learnt_by_heart() -> None:
    task = _task(crop=36)
    losses = losses_by_heart(task, coloured_images(), steps=60, optimizer="adam", lr=0.01, weight_decay=0.0)
    assert losses[0] == pytest.approx(math.log(313) + math.log(50), abs=0.4)
    assert losses[-1] < 0.1


def test_chance_is_the_entropy_of_colours_and_lightnesses(tmp_path: Path) -> None:
    store = _store(tmp_path / "store", coloured_images().permute(0, 2, 3, 1).numpy())
    task, context = _task(), LocalContext(tmp_path / "work")
    task.prepare(store, context)
    images = torch.from_numpy(np.array(store.images)).permute(0, 3, 1, 2)
    expected = 0.0
    for bins in task.make(images, torch_generator(0, "test")).targets:
        shares = torch.bincount(bins.flatten()).double() / bins.numel()
        expected -= sum(share * math.log(share) for share in shares.tolist() if share > 0)
    assert task.chance_loss == pytest.approx(expected, rel=1e-6)
    examples = task.make(images, torch_generator(0, "test"))
    with torch.no_grad():
        start = task.score(task.network(*examples.inputs), examples.targets)
    assert float(start.loss) == pytest.approx(expected, rel=0.03)
    assert context.messages == ["0 of 64 sampled images are grey."]


def test_grey_data_is_warned_of(tmp_path: Path) -> None:
    grey = striped_images(8, 48).mean(3, keepdims=True).repeat(3, 3).astype(np.uint8)
    task, context = _task(), LocalContext(tmp_path / "work")
    task.prepare(_store(tmp_path / "grey", grey), context)
    assert "no colour to learn" in context.messages[0]
    assert task.facts()["sampled_grey"] == 8


def test_response_normalisation_is_refused() -> None:
    with pytest.raises(StageError, match="lrn") as caught:
        _task(BackboneConfig(arch=Arch.alexnet, width=0.125, norm="lrn"))
    assert caught.value.reason is Reason.bad_config


def test_a_librarys_network_is_refused() -> None:
    with pytest.raises(StageError, match="resnet18") as caught:
        _task(BackboneConfig(arch="torchvision:resnet18"))
    assert caught.value.reason is Reason.bad_config


def test_the_checkpoint_holds_one_plain_backbone(tmp_path: Path) -> None:
    config = PretrainConfig(
        backbone=ALEXNET,
        pretext=SplitBrainConfig(width=16),
        schedule=TrainingSchedule(epochs=2, batch=4, precision="fp32"),
    )
    store = striped_store(tmp_path / "store", 8, 48)
    result = pretrain.run(config, pretrain.PretrainInputs(store=store), LocalContext(tmp_path / "work"))
    record, backbone = load_checkpoint(result.teacher.path)
    assert record.pixels == LabPixels()
    assert record.backbone == ALEXNET
    assert backbone.taps(torch.zeros(1, 3, 48, 48), ["conv5"])["conv5"].shape[1] == 32
    half = backbone.features[0].weight.shape[0] // 2
    assert bool((backbone.features[0].weight[:half, 1:] == 0).all())
    assert bool((backbone.features[0].weight[half:, :1] == 0).all())


def test_a_picture_shows_both_halves() -> None:
    pictures = _task().pictures(coloured_images(5), torch_generator(0, "test"))
    assert len(pictures) == 5
    left = np.array(pictures[0])[:48, :48]
    assert (left == left[..., :1]).all()
