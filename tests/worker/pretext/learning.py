"""Whether a pretext task can be learnt at all: a few images, by heart."""

from typing import Any

import torch

from models.config import Arch, BackboneConfig
from tests.worker.stages.striped import striped_images
from worker.config.pretext import AnyPretext
from worker.config.pretrain import PretrainConfig
from worker.config.schedule import TrainingSchedule
from worker.pretext.task import PretextTask
from worker.pretext.tasks import pretext_task
from worker.stages.randomness import torch_generator
from worker.stages.stepper import as_float, make_optimizer

NARROW = BackboneConfig(arch=Arch.vgg16, width=0.125, norm="batch")


def task_of(pretext: AnyPretext, side: int = 48, backbone: BackboneConfig = NARROW) -> PretextTask:
    """With the narrowest network; autos resolved for images of `side` pixels."""
    return pretext_task(PretrainConfig(backbone=backbone, pretext=pretext.resolved(side)))


def drawn_images(count: int = 64, side: int = 48) -> torch.Tensor:
    """uint8 (count, 3, side, side): stripes in an angle for each place, a colour for each image."""
    return torch.from_numpy(striped_images(count, side)).permute(0, 3, 1, 2).contiguous()


def losses_by_heart(task: PretextTask, images: torch.Tensor, steps: int, **schedule: Any) -> list[float]:  # noqa: ANN401
    """Loss of every step on the same examples of the same images."""
    torch.manual_seed(0)
    settings = TrainingSchedule(**{"epochs": 1, "lr": 0.01, "precision": "fp32", **schedule})
    optimizer = make_optimizer(task.network, settings)
    examples = task.make(images, torch_generator(0, "by heart"))
    task.network.train()
    losses = []
    for _ in range(steps):
        scored = task.score(as_float(task.network(*examples.inputs)), examples.targets)
        optimizer.zero_grad()
        torch.autograd.backward(scored.loss)
        optimizer.step()
        losses.append(scored.loss.item())
    return losses
