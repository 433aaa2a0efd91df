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
from worker.data.store import ImageStore, write_store
from worker.stages.classify import ClassifyInputs, ClusterTask, run, told_softly
from worker.stages.contract import Produced, StageError, Stopped
from worker.stages.pseudo_labels import PseudoLabels, Split
from worker.stages.standalone import LocalContext
from worker.stages.student import fitted_to

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


def test_a_student_tells_how_many_class_labels_were_kept_from_it(store: Path, labels: Path, tmp_path: Path) -> None:
    (labels / "labels.json").write_text(json.dumps({"k": K, "source": "classes", "holdout": 0.3}))
    student = _learn(store, labels, _config({"epochs": 0.1}), LocalContext(tmp_path / "work"))
    assert student.summary["class_labels_holdout"] == 0.3
    assert student.summary["photographs"] == ImageStore.open(store).photographs


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


def _shares(path: Path, clusters: NDArray[np.integer[Any]], shares: NDArray[np.floating[Any]]) -> Path:
    _labels(path, clusters[:, 0])
    np.save(path / "soft_clusters.npy", clusters.astype(np.int32))
    np.save(path / "soft_shares.npy", shares.astype(np.float32))
    return path


def test_a_soft_loss_is_the_cross_entropy_with_the_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, generator=generator)
    clusters = torch.tensor([[0, 1], [3, 2], [1, 3], [2, 0], [0, 3]])
    shares = torch.tensor([[0.7, 0.3]]).expand(5, 2)
    dense = torch.zeros(5, 4).scatter_(1, clusters, shares)
    for smoothing in (0.0, 0.2):
        direct = torch.nn.functional.cross_entropy(logits, dense, label_smoothing=smoothing)
        scored = told_softly(logits, clusters, shares, smoothing)
        torch.testing.assert_close(scored.loss, direct)
    assert scored.correct is not None
    assert int(scored.correct) == int((logits.argmax(1) == clusters[:, 0]).sum())


def test_shares_of_one_cluster_train_as_its_label_does(store: Path, labels: Path, tmp_path: Path) -> None:
    clusters = (np.arange(COUNT) % K)[:, None] + np.array([0, 0])
    alone = _shares(tmp_path / "alone", clusters, np.array([[1.0, 0.0]]).repeat(COUNT, 0))
    hard = _learn(store, labels, _config(), LocalContext(tmp_path / "hard"))
    soft = _learn(store, alone, _config(soft=True), LocalContext(tmp_path / "soft"))
    assert soft.summary["loss"] == pytest.approx(hard.summary["loss"], rel=1e-4)


def test_soft_training_needs_shares(store: Path, labels: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="`soft` needs labels with shares") as caught:
        _learn(store, labels, _config(soft=True), LocalContext(tmp_path / "out"))
    assert caught.value.reason is Reason.bad_config


def test_several_clusterings_are_learnt_beside_each_other(store: Path, labels: Path, tmp_path: Path) -> None:
    """The first decides over the student's outputs; the others' heads shape the trunk and are thrown away."""
    other = _labels(tmp_path / "other", np.arange(COUNT) % 2, 2)
    inputs = ClassifyInputs(store=store, labels=labels, labels2=other, labels4=labels)
    made = run(_config(), inputs, LocalContext(tmp_path / "both")).student
    assert made.summary["further_clusters"] == [2, K]
    assert made.summary["chance_loss"] == pytest.approx((2 * math.log(K) + math.log(2)) / 3)
    assert made.summary["chance_accuracy"] == 1 / K
    record, _, head = load_classifier(made.path)
    assert (record.classes, head.classes) == (K, K)
    alone = _learn(store, labels, _config(), LocalContext(tmp_path / "alone"))
    assert not same_weights(made.path, alone.path)


def test_the_loss_is_the_mean_over_the_clusterings(store: Path) -> None:
    opened = ImageStore.open(store)
    sets = [PseudoLabels(np.arange(COUNT) % k, k) for k in (3, 2)]
    split = Split(np.arange(COUNT), np.arange(0))
    task = ClusterTask(fitted_to(_config(), opened), opened, sets[0], split, sets[1:])
    images = torch.from_numpy(np.array(opened.images[:8])).permute(0, 3, 1, 2)
    examples = task.examples(images, np.arange(8), 0)
    outputs = task.network.eval()(*examples.inputs)
    losses = [torch.nn.functional.cross_entropy(o, t) for o, t in zip(outputs, examples.targets, strict=True)]
    scored = task.score(outputs, examples.targets)
    torch.testing.assert_close(scored.loss, (losses[0] + losses[1]) / 2)
    assert scored.correct is not None
    assert int(scored.correct) == int((outputs[0].argmax(1) == torch.arange(8) % 3).sum())


def test_an_image_that_one_clustering_leaves_out_is_not_trained_on(store: Path, labels: Path, tmp_path: Path) -> None:
    partly = np.arange(COUNT) % 2
    partly[:20] = -1
    inputs = ClassifyInputs(store=store, labels=labels, labels2=_labels(tmp_path / "partly", partly, 2))
    summary = run(_config(), inputs, LocalContext(tmp_path / "out")).student.summary
    assert summary["images_trained"] + summary["images_held_out"] == COUNT - 20
