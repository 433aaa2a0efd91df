import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.checkpoint import load_checkpoint, load_classifier
from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels
from tests.worker.stages.striped import same_weights, striped_images
from worker.config.classify import ClassifierHeadConfig, ClassifyConfig
from worker.config.reasons import Reason
from worker.config.schedule import TrainingSchedule
from worker.data.store import write_store
from worker.stages.classify import ClassifyInputs, run
from worker.stages.contract import Produced, StageError, Stopped
from worker.stages.standalone import LocalContext

COUNT, SIDE, K = 60, 72, 3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of cluster n are lit in channel n."""
    path = tmp_path_factory.mktemp("data") / "store"
    images = striped_images(COUNT, SIDE) // 2
    images[np.arange(COUNT), :, :, np.arange(COUNT) % K] += 127
    write_store(path, images, [f"{n:03}.png" for n in range(COUNT)], [None] * COUNT)
    return path


def _labels(path: Path, values: NDArray[np.integer[Any]], k: int = K) -> Path:
    path.mkdir()
    np.save(path / "labels.npy", values.astype(np.int32))
    (path / "labels.json").write_text(json.dumps({"k": k}))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return _labels(tmp_path / "labels", np.arange(COUNT) % K)


def _config(schedule: dict[str, object] | None = None, **changes: object) -> ClassifyConfig:
    timing = {"epochs": 2, "batch": 12, "lr": 0.02, "precision": "fp32", **(schedule or {})}
    config = ClassifyConfig(
        backbone=BackboneConfig(arch=Arch.alexnet, width=0.125, norm="batch"),
        head=ClassifierHeadConfig(width=32, dropout=0.2),
        schedule=TrainingSchedule.model_validate(timing),
        holdout=0.2,
    )
    return ClassifyConfig.model_validate(config.model_dump() | changes)


def _learn(store: Path, labels: Path, config: ClassifyConfig, context: LocalContext) -> Produced:
    return run(config, ClassifyInputs(store=store, labels=labels), context).student


def test_clusters_that_can_be_seen_are_learnt_and_recognised_on_held_out_images(
    store: Path, labels: Path, tmp_path: Path
) -> None:
    student = _learn(store, labels, _config({"epochs": 12}), LocalContext(tmp_path / "work"))
    assert student.summary["accuracy"] > 0.9
    assert student.summary["holdout_accuracy"] > 0.9
    assert student.summary["chance_loss"] == pytest.approx(math.log(K))


def test_random_labels_are_not_recognised_on_held_out_images(store: Path, tmp_path: Path) -> None:
    """SPEC 12.7: what the held-out images tell is not memory."""
    values = np.random.default_rng(0).integers(0, 20, COUNT)
    student = _learn(
        store, _labels(tmp_path / "labels", values, 20), _config({"epochs": 6}), LocalContext(tmp_path / "work")
    )
    assert student.summary["holdout_accuracy"] < 0.5


def test_the_student_is_a_classifier_with_torchvisions_pixels(store: Path, labels: Path, tmp_path: Path) -> None:
    student = _learn(store, labels, _config(), LocalContext(tmp_path / "work"))
    record, backbone, head = load_classifier(student.path)
    assert (record.role, record.classes, record.crop) == ("student", K, round(SIDE * 227 / 256))
    assert record.pixels == ImagenetPixels()
    assert record.training["images_trained"] + record.training["images_held_out"] == COUNT
    assert head(backbone(torch.zeros(2, 3, record.crop, record.crop))).shape == (2, K)
    assert load_checkpoint(student.path)[0].role == "student"


def test_a_stopped_and_resumed_training_equals_an_uninterrupted_one(store: Path, labels: Path, tmp_path: Path) -> None:
    config = _config(balance="clusters", min_scale=0.6, grey=0.3, label_smoothing=0.1)
    straight = _learn(store, labels, config, LocalContext(tmp_path / "whole"))
    with pytest.raises(Stopped):
        _learn(store, labels, config, LocalContext(tmp_path / "part", stop_after=5))
    resumed = _learn(store, labels, config, LocalContext(tmp_path / "rest", resume_from=tmp_path / "part"))
    assert same_weights(straight.path, resumed.path)
    assert straight.summary["holdout_loss"] == resumed.summary["holdout_loss"]


def test_the_state_of_other_labels_is_left_aside(store: Path, labels: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        _learn(store, labels, _config(), LocalContext(tmp_path / "part", stop_after=3))
    context = LocalContext(tmp_path / "rest", resume_from=tmp_path / "part")
    _learn(store, _labels(tmp_path / "others", (np.arange(COUNT) + 1) % K), _config(), context)
    assert any("starting afresh" in message for message in context.messages)


def test_watching_the_held_out_images_changes_no_weight(
    store: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = LocalContext(tmp_path / "1")
    one = _learn(store, labels, _config(), watched)
    assert {name for name, _, _ in watched.metrics} >= {"holdout_loss", "holdout_accuracy"}
    monkeypatch.setattr("worker.stages.classify.ClusterTask.monitor", lambda *_: {"holdout_accuracy": 0.0})
    assert same_weights(one.path, _learn(store, labels, _config(), LocalContext(tmp_path / "2")).path)


def test_images_without_a_label_are_not_trained_on(store: Path, tmp_path: Path) -> None:
    values = np.arange(COUNT) % K
    values[:40] = -1
    student = _learn(store, _labels(tmp_path / "labels", values), _config(holdout=0.0), LocalContext(tmp_path / "work"))
    assert student.summary["images_trained"] == 20
    assert "holdout_accuracy" not in student.summary


def test_labels_of_another_store_are_refused(store: Path, tmp_path: Path) -> None:
    labels = _labels(tmp_path / "labels", np.arange(COUNT - 1) % K)
    with pytest.raises(StageError, match="59 pseudo-labels for 60 images") as caught:
        _learn(store, labels, _config(), LocalContext(tmp_path / "work"))
    assert caught.value.reason is Reason.bad_labels


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"side": 80}, "80"), ({"crop": 100}, "100 px")],
)
def test_images_too_small_for_the_crops_are_refused(
    store: Path, labels: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(StageError, match=message) as caught:
        _learn(store, labels, _config(**changes), LocalContext(tmp_path / "work"))
    assert caught.value.reason is Reason.images_too_small
