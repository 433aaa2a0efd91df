import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint
from models.config import Arch, BackboneConfig
from tests.worker.stages.feature_sets import small_store
from tests.worker.stages.networks import SMALL_ALEXNET, SMALL_VGG, write_network
from worker.config.evaluate import EvaluateConfig
from worker.data.store import ImageStore, write_store
from worker.evaluation.contenders import untrained
from worker.evaluation.record import Evaluation
from worker.stages.contract import Stopped
from worker.stages.evaluate import EvaluateInputs, run
from worker.stages.standalone import LocalContext

SMALL = {"taps": ("conv1", "conv3"), "max_dims": 64, "knn": 3, "probe_epochs": 5, "batch": 32}


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    """Bright and dark images, which any network tells apart, and one image of a third kind."""
    rng = np.random.default_rng(0)
    bright = np.arange(80) % 2 == 0
    images = np.where(bright, 160, 0)[:, None, None, None] + rng.integers(0, 90, (80, 70, 70, 3))
    labels: list[str | None] = ["bright" if is_bright else "dark" for is_bright in bright]
    labels[5], labels[6] = "odd", None
    write_store(tmp_path / "store", images.astype(np.uint8), [f"{index:03}.png" for index in range(80)], labels)
    return ImageStore.open(tmp_path / "store")


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return write_network(tmp_path / "student", SMALL_ALEXNET, role="student")


def evaluate(path: Path, store: ImageStore, student: Path, teacher: Path | None = None, **config: Any) -> Evaluation:  # noqa: ANN401
    inputs = EvaluateInputs(store=store.path, student=student, teacher=teacher)
    made = run(EvaluateConfig(**{**SMALL, **config}), inputs, LocalContext(path)).evaluation
    assert sorted(file.name for file in path.iterdir()) == ["evaluation"]
    return Evaluation.model_validate_json((made.path / "evaluation.json").read_text())


def test_compares_untrained_networks_teacher_and_student_at_every_tap(
    tmp_path: Path, store: ImageStore, student: Path
) -> None:
    teacher = write_network(tmp_path / "teacher", SMALL_VGG)
    found = evaluate(tmp_path / "out", store, student, teacher, seeds=(0, 1))
    assert found.labelled
    assert list(found.networks) == ["random", "random_calibrated", "teacher", "student"]
    assert list(found.differences) == ["student - random", "student - random_calibrated", "student - teacher"]
    for taps in found.networks.values():
        assert list(taps) == ["conv1", "conv3"]
        for result in taps.values():
            assert list(result.linear.per_seed) == ["0", "1"]
            assert result.linear.top1 == pytest.approx(np.mean(list(result.linear.per_seed.values())))
            assert result.linear.low <= result.linear.top1 <= result.linear.high
            assert result.knn.n == result.linear.n == found.protocol["held_out"]


def test_says_which_images_and_classes_took_part(tmp_path: Path, store: ImageStore, student: Path) -> None:
    protocol = evaluate(tmp_path / "out", store, student).protocol
    assert protocol["classes"] == ["bright", "dark"]
    assert protocol["dropped_classes"] == {"odd": 1}
    assert protocol["train"] + protocol["held_out"] == 78


def test_bright_and_dark_are_told_apart(tmp_path: Path, store: ImageStore, student: Path) -> None:
    found = evaluate(tmp_path / "out", store, student, probe_epochs=30)
    assert found.networks["student"]["conv1"].linear.top1 == 1
    assert found.networks["student"]["conv1"].knn.top1 == 1


def test_labels_without_meaning_stay_near_chance_and_within_the_interval(tmp_path: Path, student: Path) -> None:
    store = small_store(tmp_path / "noise", 150, 70, [str(index * 7919 % 13 % 2) for index in range(150)])
    found = evaluate(tmp_path / "out", store, student, holdout=0.5)
    result = found.networks["student"]["conv3"].linear
    assert result.low < 0.5 + 0.15
    assert not found.differences["student - random"]["conv3"].linear.beyond


def test_the_student_compared_with_its_own_untrained_weights_does_not_differ(tmp_path: Path, store: ImageStore) -> None:
    student = write_network(tmp_path / "student", SMALL_ALEXNET.model_copy(update={"norm": "none"}), role="student")
    record, _ = load_checkpoint(student)
    weights = torch.load(student / "model.pt", weights_only=True)
    torch.save({**weights, "backbone": untrained(record, 0).state_dict()}, student / "model.pt")
    found = evaluate(tmp_path / "out", store, student)
    assert list(found.networks) == ["random", "student"]
    assert all(
        tap.linear.difference == 0 == tap.knn.difference for tap in found.differences["student - random"].values()
    )


def test_the_same_seed_gives_the_same_figures(tmp_path: Path, store: ImageStore, student: Path) -> None:
    first, second = (evaluate(tmp_path / name, store, student) for name in ("a", "b"))
    assert first == second


def test_networks_see_their_own_crop(tmp_path: Path, store: ImageStore, student: Path) -> None:
    views = evaluate(tmp_path / "out", store, student).protocol["views"]
    assert views["student"] == views["random"] == {"side": 70, "crop": 64}


def test_the_full_size_taps_are_the_published_ones(tmp_path: Path) -> None:
    store = small_store(tmp_path / "store", 14, 256, [str(index % 2) for index in range(14)])
    student = write_network(tmp_path / "student", BackboneConfig(arch=Arch.alexnet), role="student")
    record = json.loads((student / "checkpoint.json").read_text())
    (student / "checkpoint.json").write_text(json.dumps({**record, "crop": 227}))
    taps = ("conv1", "conv2", "conv3", "conv4", "conv5")
    found = evaluate(tmp_path / "out", store, student, taps=taps, max_dims=9600, probe_epochs=1, holdout=0.4)
    shapes = [found.networks["student"][tap].shape for tap in taps]
    assert [channels * height * width for channels, height, width in shapes] == [9600, 9216, 9600, 9600, 9216]


def test_a_store_without_labels_succeeds_and_says_so(tmp_path: Path, student: Path) -> None:
    found = evaluate(tmp_path / "out", small_store(tmp_path / "plain", 12), student)
    assert not found.labelled
    assert found.reason == "The dataset has no labels, so accuracies can't be measured: look at the clusters."
    assert found.networks == {}


def test_labels_of_too_few_images_succeed_and_say_so(tmp_path: Path, student: Path) -> None:
    found = evaluate(tmp_path / "out", small_store(tmp_path / "few", 12, labels=["one"] * 12), student)
    assert (found.labelled, found.reason) == (
        False,
        "Fewer than two classes have enough labelled images, so accuracies can't be measured.",
    )


def test_stops_between_steps_and_leaves_nothing(tmp_path: Path, store: ImageStore, student: Path) -> None:
    context = LocalContext(tmp_path / "out", stop_after=4)
    with pytest.raises(Stopped):
        run(EvaluateConfig(**SMALL), EvaluateInputs(store=store.path, student=student), context)
    assert not list(context.workdir.iterdir())
