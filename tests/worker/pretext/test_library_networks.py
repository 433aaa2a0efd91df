"""Pretext tasks on a network of torchvision."""

import math
from pathlib import Path

import pytest
import torch

from models.checkpoint import load_checkpoint
from models.config import BackboneConfig
from tests.worker.pretext.learning import drawn_images, losses_by_heart, task_of
from tests.worker.stages.striped import striped_store
from worker.config.pretext import AnyPretext
from worker.config.pretext.colorization import ColorizationConfig
from worker.config.pretext.context import ContextConfig
from worker.config.pretext.counting import CountingConfig
from worker.config.pretext.inpainting import InpaintingConfig
from worker.config.pretext.jigsaw import JigsawConfig, PuzzleHeadConfig
from worker.config.pretext.rotation import RotationConfig
from worker.config.pretext.simclr import SimclrConfig
from worker.config.pretrain import PretrainConfig
from worker.config.reasons import Reason
from worker.config.schedule import TrainingSchedule
from worker.stages.contract import StageError
from worker.stages.pretrain import PretrainInputs, run
from worker.stages.standalone import LocalContext

RESNET = BackboneConfig(arch="torchvision:resnet18")
HEAD = PuzzleHeadConfig(fc6=32, fc7=64, dropout=0.0, norm="batch")
JIGSAW = JigsawConfig(side=48, crop=48, tile=12, jitter=1, channel_jitter=1, permutations=8, min_hamming=5, head=HEAD)
ROTATION = RotationConfig(crop=32, width=64, dropout=0.0)


@pytest.mark.parametrize(("pretext", "classes", "lr"), [(ROTATION, 4, 0.01), (JIGSAW, 8, 0.03)])
def test_images_are_learnt_by_heart(pretext: AnyPretext, classes: int, lr: float) -> None:
    losses = losses_by_heart(task_of(pretext, backbone=RESNET), drawn_images(8), steps=18, lr=lr)
    assert losses[0] == pytest.approx(math.log(classes), abs=0.4)
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    "pretext",
    [
        ColorizationConfig(width=16),
        ContextConfig(head=HEAD),
        CountingConfig(width=16, counts=8),
        InpaintingConfig(width=16),
        SimclrConfig(width=16, outputs=8),
    ],
)
def test_other_tasks_learn_on_it_too(pretext: AnyPretext) -> None:
    task = task_of(pretext, backbone=RESNET)
    before = next(task.network.backbone.parameters()).clone()
    patches = torch.randint(256, (4, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    losses_by_heart(task, patches.repeat_interleave(12, 2).repeat_interleave(12, 3), steps=2, weight_decay=0)
    assert not torch.equal(next(task.network.backbone.parameters()), before)


def _trained(tmp_path: Path, backbone: BackboneConfig) -> Path:
    schedule = TrainingSchedule(epochs=1, batch=4, lr=0.01, precision="fp32")
    config = PretrainConfig(backbone=backbone, pretext=ROTATION, schedule=schedule, holdout=0.2)
    inputs = PretrainInputs(store=striped_store(tmp_path / "store", 10, 48))
    return run(config, inputs, LocalContext(tmp_path / "work")).teacher.path


def test_it_is_trained_into_a_teacher(tmp_path: Path) -> None:
    record, backbone = load_checkpoint(_trained(tmp_path, RESNET))
    assert record.backbone == RESNET
    assert record.training["images_seen"] > 0
    assert bool(backbone.state_dict()["network.bn1.num_batches_tracked"] > 0)


def test_a_network_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="torchvision has no classifier 'resnet19'") as caught:
        _trained(tmp_path, BackboneConfig(arch="torchvision:resnet19"))
    assert caught.value.reason is Reason.bad_config
