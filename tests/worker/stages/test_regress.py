from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint, load_record, save_checkpoint
from models.config import Arch, BackboneConfig
from tests.worker.stages.feature_sets import small_store
from tests.worker.stages.networks import SMALL_ALEXNET, SMALL_VGG, write_network
from tests.worker.stages.striped import same_weights, striped_store
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.config.regress import RegressConfig
from worker.config.schedule import TrainingSchedule
from worker.data.store import ImageStore
from worker.stages.contract import StageError, Stopped
from worker.stages.frozen import FrozenNetwork
from worker.stages.regress import RegressInputs, RegressionTask, RegressResult, run
from worker.stages.standalone import LocalContext
from worker.stages.student import fitted_to

CPU = torch.device("cpu")
SIDE, CROP = 72, 64


def config(epochs: float = 2, **changed: Any) -> RegressConfig:  # noqa: ANN401
    schedule = TrainingSchedule(epochs=epochs, batch=6, lr=0.02, precision="fp32", shape="cosine")
    return RegressConfig(**{"backbone": SMALL_ALEXNET, "schedule": schedule, "crop": CROP, **changed})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return striped_store(tmp_path / "store", 24, SIDE)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_network(tmp_path / "teacher", SMALL_VGG, seed=1)


def regress(store: Path, teacher: Path, out: Path, asked: RegressConfig | None = None) -> RegressResult:
    return run(asked or config(), RegressInputs(store=store, teacher=teacher), LocalContext(out))


def task_of(store: Path, teacher: Path, asked: RegressConfig) -> RegressionTask:
    opened = ImageStore.open(store)
    record, backbone = load_checkpoint(teacher)
    frozen = FrozenNetwork(backbone, record.pixels, CPU, "fp32")
    everything = np.arange(opened.count)
    return RegressionTask(fitted_to(asked, opened), opened, frozen, (everything, everything[:0]), CPU)


def test_targets_are_the_standardised_pooled_maps_of_the_same_pixels(store: Path, teacher: Path) -> None:
    """Slowly: every image alone through the teacher, pooled bin by bin, standardised by the whole store's maps."""
    opened = ImageStore.open(store)
    asked = config(flip=False, crop=SIDE, side=SIDE)
    task = task_of(store, teacher, asked)
    record, backbone = load_checkpoint(teacher)
    images = torch.from_numpy(np.array(opened.images)).permute(0, 3, 1, 2)
    with torch.no_grad():
        alone = [backbone.taps(record.pixels.apply(image[None]), ["conv4", "conv5"]) for image in images]
    found = task.examples(images, np.arange(24), 0).targets
    for tap, target in zip(("conv4", "conv5"), found, strict=True):
        maps = torch.cat([maps[tap] for maps in alone])
        size = target.shape[-1]
        edges = [(n * maps.shape[-1] // size, -(-(n + 1) * maps.shape[-1] // size)) for n in range(size)]
        pooled = torch.stack(
            [torch.stack([maps[..., a:b, c:d].mean((2, 3)) for c, d in edges], -1) for a, b in edges], -2
        )
        deviation = pooled.std((0, 2, 3), correction=0)
        slow = (pooled - pooled.mean((0, 2, 3))[:, None, None]) / deviation[:, None, None]
        slow[:, deviation < 1e-6 * deviation.max()] = 0
        torch.testing.assert_close(target, slow, atol=2e-3, rtol=1e-3)


def test_answering_with_the_mean_is_chance(store: Path, teacher: Path) -> None:
    task = task_of(store, teacher, config(flip=False, crop=SIDE, side=SIDE))
    images = torch.from_numpy(np.array(ImageStore.open(store).images)).permute(0, 3, 1, 2)
    targets = task.examples(images, np.arange(24), 0).targets
    scored = task.score(tuple(torch.zeros_like(target) for target in targets), targets)
    assert 0.5 < task.chance_loss <= 1
    assert float(scored.loss) == pytest.approx(task.chance_loss, abs=1e-3)
    assert (scored.answers, scored.correct) == (24, None)


def test_the_student_learns_the_teacher_s_maps(tmp_path: Path, store: Path, teacher: Path) -> None:
    """Without crops and mirrors it can fit them: nearly all of their variance, on images it never saw too."""
    schedule = TrainingSchedule(epochs=60, batch=8, lr=0.2, precision="fp32", shape="cosine")
    wide = BackboneConfig(arch=Arch.alexnet, width=0.25)
    asked = config(schedule=schedule, backbone=wide, holdout=0.2, flip=False, crop=SIDE)
    facts = regress(store, teacher, tmp_path / "out", asked).student.summary
    assert facts["loss"] < 0.15 * facts["chance_loss"]
    assert facts["holdout_loss"] < 0.2 * facts["chance_loss"]


def test_the_student_is_an_alexnet_without_a_head(tmp_path: Path, store: Path, teacher: Path) -> None:
    made = regress(store, teacher, tmp_path / "out").student
    record, backbone = load_checkpoint(made.path)
    assert (made.kind, record.role, record.classes, record.crop) == (ArtifactKind.checkpoint, "student", 0, CROP)
    assert record.training["teacher"]["backbone"]["arch"] == "vgg16"
    assert record.training["taps"] == ["conv4", "conv5"]
    assert record.training["dataset"] == ImageStore.open(store).digest
    assert record.training["photographs"] == ImageStore.open(store).photographs
    assert backbone.taps(torch.zeros(1, 3, CROP, CROP), ["conv5"])["conv5"].shape[1] == 32


def test_the_teacher_stays_as_it_was(tmp_path: Path, store: Path, teacher: Path) -> None:
    opened = ImageStore.open(store)
    record, backbone = load_checkpoint(teacher)
    frozen = FrozenNetwork(backbone, record.pixels, CPU, "fp32")
    before = frozen.digest()
    task = RegressionTask(fitted_to(config(), opened), opened, frozen, (np.arange(24), np.arange(0)), CPU)
    images = torch.from_numpy(np.array(opened.images[:4])).permute(0, 3, 1, 2)
    examples = task.examples(images, np.arange(4), 0)
    task.score(task.network(*examples.inputs), examples.targets).loss.backward()  # type: ignore[no-untyped-call]
    assert frozen.digest() == before
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert not any("teacher" in name for name in task.network.state_dict())


def test_another_alexnet_may_teach_and_be_smaller(tmp_path: Path, store: Path) -> None:
    teacher = write_network(tmp_path / "alexnet", BackboneConfig(arch=Arch.alexnet_torchvision, width=0.25), seed=1)
    made = regress(store, teacher, tmp_path / "out", config(taps=("conv3",)))
    assert made.student.summary["taps"] == ["conv3"]
    assert np.isfinite(made.student.summary["loss"])


def test_a_stopped_training_ends_as_an_uninterrupted_one(tmp_path: Path, store: Path, teacher: Path) -> None:
    inputs = RegressInputs(store=store, teacher=teacher)
    whole = run(config(min_scale=0.7), inputs, LocalContext(tmp_path / "whole")).student.path
    first = LocalContext(tmp_path / "first", stop_after=3)
    with pytest.raises(Stopped):
        run(config(min_scale=0.7), inputs, first)
    second = LocalContext(tmp_path / "second", resume_from=first.workdir)
    assert same_weights(run(config(min_scale=0.7), inputs, second).student.path, whole)
    assert any("Resumed after step 3" in message for message in second.messages)


def test_layers_that_learn_nothing_are_told(tmp_path: Path, store: Path, teacher: Path) -> None:
    context = LocalContext(tmp_path / "out")
    run(config(taps=("conv4",)), RegressInputs(store=store, teacher=teacher), context)
    assert any("after conv4 keep their random weights" in message for message in context.messages)


@pytest.mark.parametrize(
    ("changed", "reason", "sentence"),
    [
        ({"side": 73}, Reason.images_too_small, "the stored images have 72 px"),
        ({"crop": 73}, Reason.images_too_small, "can't be cut from images of 72"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(
    tmp_path: Path, store: Path, teacher: Path, changed: dict[str, int], reason: Reason, sentence: str
) -> None:
    with pytest.raises(StageError, match=sentence) as caught:
        regress(store, teacher, tmp_path / "out", config(**changed))
    assert caught.value.reason is reason


def test_a_teacher_that_sees_no_difference_is_refused(tmp_path: Path, store: Path, teacher: Path) -> None:
    record, backbone = load_checkpoint(teacher)
    for parameter in backbone.parameters():
        parameter.data.zero_()
    save_checkpoint(tmp_path / "dead", record, backbone, None)
    with pytest.raises(StageError, match="the same for all images") as caught:
        regress(store, tmp_path / "dead", tmp_path / "out")
    assert caught.value.reason is Reason.bad_config


def test_too_few_images_are_refused(tmp_path: Path, teacher: Path) -> None:
    one = small_store(tmp_path / "one", 1, SIDE).path
    with pytest.raises(StageError, match="Only 1 images are left") as caught:
        regress(one, teacher, tmp_path / "out", config(holdout=0))
    assert caught.value.reason is Reason.too_few_images


def test_records_can_be_read_without_weights(tmp_path: Path, store: Path, teacher: Path) -> None:
    made = regress(store, teacher, tmp_path / "out", config(epochs=1))
    assert load_record(made.student.path).training["config"]["side"] == SIDE
