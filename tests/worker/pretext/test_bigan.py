import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch.nn import functional

from models.config import Arch, BackboneConfig
from tests.worker.pretext.learning import drawn_images, task_of
from tests.worker.stages.striped import striped_store
from worker.config.pretext.bigan import BiganConfig
from worker.config.pretrain import PretrainConfig
from worker.config.schedule import TrainingSchedule
from worker.data.store import ImageStore
from worker.pretext.bigan import BiganNetwork, BiganTask
from worker.pretext.tasks import pretext_task
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext
from worker.stages.stepper import make_optimizer

NARROW = BackboneConfig(arch=Arch.alexnet, width=0.125)
SMALL = BiganConfig(made=16, code=16, width=32, channels=8)


def _task(config: BiganConfig = SMALL) -> BiganTask:
    task = task_of(config, backbone=NARROW)
    assert isinstance(task, BiganTask)
    return task


def _network(task: BiganTask) -> BiganNetwork:
    assert isinstance(task.network, BiganNetwork)
    return task.network


def test_the_papers_sizes_come_from_128_pixels_and_scale() -> None:
    resolved = BiganConfig().resolved(128)
    assert (resolved.crop, resolved.made) == (112, 64)
    resolved = BiganConfig().resolved(48)
    assert (resolved.crop, resolved.made) == (42, 32)
    with pytest.raises(ValidationError, match="made must not exceed crop"):
        BiganConfig(crop=40, made=64)


def test_codes_are_uniform_and_the_judged_image_is_the_encoded_one_made_small() -> None:
    task = _task(BiganConfig(made=16, crop=48, flip=False, code=50))
    images = drawn_images(3)
    examples = task.make(images, torch_generator(0, "test"))
    seen, real, codes = examples.inputs
    assert torch.equal(seen, task.pixels.apply(images))
    assert float(codes.abs().max()) <= 1
    assert float(codes.std()) == pytest.approx(1 / math.sqrt(3), abs=0.06)
    for image, small in zip(images, real, strict=True):
        by_pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((16, 16), Image.Resampling.BILINEAR)
        shown = ((small + 1) * 127.5).permute(1, 2, 0).numpy()
        assert np.abs(shown - np.asarray(by_pillow, np.float32)).max() < 1.1
    assert examples.targets[0].tolist() == [1, 1, 1, 0, 0, 0]


def test_the_loss_is_that_of_both_players() -> None:
    judged, fooled = torch.tensor([2.0, -1.0, -0.5, 1.5]), torch.tensor([0.3, 0.7, -2.0, 1.0])
    truth = torch.tensor([1.0, 1.0, 0.0, 0.0])
    scored = _task().score((judged, fooled), (truth,))

    def surprise(logit: float, was: float) -> float:
        right = 1 / (1 + math.exp(-logit))
        return -math.log(right if was else 1 - right)

    of_discriminator = sum(map(surprise, judged.tolist(), truth.tolist())) / 4
    of_makers = sum(map(surprise, fooled.tolist(), (1 - truth).tolist())) / 4
    assert scored.loss.item() == pytest.approx(of_discriminator + of_makers, rel=1e-5)
    assert scored.correct is not None
    assert (int(scored.correct), scored.answers) == (2, 4)


def test_both_verdicts_are_of_the_same_pairs() -> None:
    task = _task()
    judged, fooled = task.network.eval()(*task.make(drawn_images(4), torch_generator(0, "test")).inputs)
    assert judged.shape == (8,)
    assert torch.equal(judged, fooled)


@pytest.mark.parametrize(("verdict", "learners"), [(0, {"discriminator"}), (1, {"backbone", "head", "generator"})])
def test_gradients_reach_only_the_player_whose_verdict_it_is(verdict: int, learners: set[str]) -> None:
    task = _task()
    outputs = task.network(*task.make(drawn_images(4), torch_generator(0, "test")).inputs)
    torch.autograd.backward(outputs[verdict].square().sum())
    for name, parameter in task.network.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        owner = name.partition(".")[0]
        assert reached <= (owner in learners), name
        # Biases before a batch norm get none from anyone.
        assert reached or owner not in learners or name.endswith("bias"), name


def test_the_discriminator_learns_and_its_opponents_answer() -> None:
    """Alone against frozen makers it soon tells all; makers that then learn against it frozen fool it again."""
    torch.manual_seed(0)
    task = _task()
    network = _network(task)
    schedule = TrainingSchedule(epochs=1, optimizer="adam", lr=2e-3, momentum=0.5, weight_decay=0)
    examples = task.make(drawn_images(), torch_generator(0, "test"))
    (truth,) = examples.targets

    def play(steps: int, player: int, target: torch.Tensor) -> list[float]:
        optimizer = make_optimizer(network, schedule)
        losses = []
        for _ in range(steps):
            loss = functional.binary_cross_entropy_with_logits(network(*examples.inputs)[player], target)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
        return losses

    discriminating = play(30, 0, truth)
    assert discriminating[0] == pytest.approx(math.log(2), abs=0.1)
    assert discriminating[-1] < 0.1
    making = play(60, 1, 1 - truth)
    assert making[0] > 2
    assert making[-1] < 0.5 * making[0]


def test_sgd_is_warned_of(tmp_path: Path) -> None:
    store = ImageStore.open(striped_store(tmp_path / "store", 4, 48))
    for optimizer, warned in (("sgd", True), ("adam", False)):
        schedule = TrainingSchedule.model_validate({"epochs": 1, "optimizer": optimizer})
        config = PretrainConfig(backbone=NARROW, pretext=SMALL.resolved(48), schedule=schedule)
        context = LocalContext(tmp_path)
        pretext_task(config).prepare(store, context)
        assert any("Adam" in message for message in context.messages) == warned


def test_a_picture_leaves_the_network_as_it_was() -> None:
    task = _task()
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    pictures = task.pictures(drawn_images(3), torch_generator(0, "test"))
    assert len(pictures) == 3
    assert all(picture.width >= 42 + 2 * 16 for picture in pictures)
    assert task.network.training
    assert all(torch.equal(value, before[name]) for name, value in task.network.state_dict().items())
