"""Every pretext task on a CUDA device: the CPU's examples, finite losses, a checkpoint that a CPU opens."""

from pathlib import Path

import pytest
import torch

from models.checkpoint import load_checkpoint
from models.config import Arch, BackboneConfig
from tests.worker.pretext.learning import drawn_images, task_of
from tests.worker.stages.striped import striped_store
from worker.config.pretext import AnyPretext
from worker.config.pretext.bigan import BiganConfig
from worker.config.pretext.colorization import ColorizationConfig
from worker.config.pretext.context import ContextConfig
from worker.config.pretext.counting import CountingConfig
from worker.config.pretext.inpainting import InpaintingConfig
from worker.config.pretext.jigsaw import JigsawConfig, JigsawPlusConfig
from worker.config.pretext.rotation import RotationConfig
from worker.config.pretext.simclr import SimclrConfig
from worker.config.pretext.split_brain import SplitBrainConfig
from worker.config.pretrain import PretrainConfig
from worker.config.schedule import TrainingSchedule
from worker.stages.pretrain import PretrainInputs, run
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext

pytestmark = pytest.mark.gpu

SIDE = 96
ALEXNET = BackboneConfig(arch=Arch.alexnet, width=0.25, norm="batch", conv1_stride=2)
TASKS: list[AnyPretext] = [
    JigsawPlusConfig(permutations=20, min_hamming=5),
    JigsawConfig(permutations=20, min_hamming=5),
    ContextConfig(),
    ContextConfig(colour="projection"),
    InpaintingConfig(),
    ColorizationConfig(),
    SplitBrainConfig(),
    CountingConfig(),
    BiganConfig(),
    RotationConfig(),
    SimclrConfig(),
]


@pytest.mark.parametrize("pretext", TASKS, ids=lambda pretext: pretext.task)
def test_examples_are_those_of_the_cpu(pretext: AnyPretext) -> None:
    images, task = drawn_images(8, SIDE), task_of(pretext, SIDE, ALEXNET)
    on_cpu = task.make(images, torch_generator(0, "test"))
    on_cuda = task.make(images.cuda(), torch_generator(0, "test"))
    for expected, found in zip(on_cpu.inputs + on_cpu.targets, on_cuda.inputs + on_cuda.targets, strict=True):
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=2e-2)


@pytest.mark.parametrize("pretext", TASKS, ids=lambda pretext: pretext.task)
def test_a_training_ends_with_a_network_that_a_cpu_opens(pretext: AnyPretext, tmp_path: Path) -> None:
    store = striped_store(tmp_path / "store", 64, SIDE)
    schedule = TrainingSchedule(epochs=3, batch=16, lr=0.001)
    config = PretrainConfig(backbone=ALEXNET, pretext=pretext, schedule=schedule, holdout=0.3)
    context = LocalContext(tmp_path / "work", "cuda")
    teacher = run(config, PretrainInputs(store=store), context).teacher
    assert {"holdout_loss"} <= {name for name, _, _ in context.metrics}
    _, backbone = load_checkpoint(teacher.path)
    assert backbone(torch.zeros(1, 3, SIDE, SIDE)).isfinite().all()
