"""HOG, soft labels, whitening and feature distillation give on a CUDA device what they give on a CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint
from models.config import Arch, BackboneConfig
from tests.worker.stages.networks import SMALL_VGG, write_network
from tests.worker.stages.striped import striped_images, striped_store
from worker.clustering.features import FeatureSet
from worker.clustering.hog import grey, hog_blocks
from worker.clustering.soft import SeveralNearest
from worker.clustering.whitening import learn_whitening
from worker.config.regress import RegressConfig
from worker.config.schedule import TrainingSchedule
from worker.config.sources import HogConfig
from worker.stages import hog, regress
from worker.stages.standalone import LocalContext

pytestmark = pytest.mark.gpu


def test_blocks_are_those_of_the_cpu() -> None:
    images = torch.from_numpy(striped_images(6, 64)).permute(0, 3, 1, 2)
    on_cpu, on_cuda = (hog_blocks(grey(each), 8, 2, 9) for each in (images, images.cuda()))
    # A gradient on the border of two directions may fall to either: nearly all blocks agree.
    apart = (on_cpu - on_cuda.cpu()).abs().amax(-1)
    assert (apart < 1e-4).float().mean() > 0.99


def test_bags_of_words_are_made(tmp_path: Path) -> None:
    inputs = hog.HogInputs(store=striped_store(tmp_path / "store", 16, 64))
    made = hog.run(HogConfig(words=8, sample=1000), inputs, LocalContext(tmp_path / "out", "cuda")).features
    bags = FeatureSet.open(made.path).matrix.astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(bags, axis=1), 1, atol=1e-2)


def test_several_nearest_and_components_are_those_of_the_cpu() -> None:
    points = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
    nearest = [SeveralNearest(points[:9], device).find(points, 3) for device in ("cpu", "cuda")]
    assert (nearest[0] == nearest[1]).mean() > 0.99
    whitened = [learn_whitening(points, 5, device).apply(points) for device in ("cpu", "cuda")]
    np.testing.assert_allclose(whitened[0], whitened[1], atol=1e-3)


def test_a_student_regresses_its_teacher_and_loads_on_a_cpu(tmp_path: Path) -> None:
    store, teacher = striped_store(tmp_path / "store", 24, 72), write_network(tmp_path / "teacher", SMALL_VGG, seed=1)
    asked = RegressConfig(
        backbone=BackboneConfig(arch=Arch.alexnet, width=0.25),
        schedule=TrainingSchedule(epochs=60, batch=8, lr=0.2, shape="cosine"),
        crop=72,
        flip=False,
    )
    inputs = regress.RegressInputs(store=store, teacher=teacher)
    student = regress.run(asked, inputs, LocalContext(tmp_path / "out", "cuda")).student
    assert student.summary["loss"] < 0.3 * student.summary["chance_loss"]
    assert load_checkpoint(student.path)[1](torch.zeros(1, 3, 72, 72)).isfinite().all()
