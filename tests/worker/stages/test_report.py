import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.checkpoint import save_checkpoint
from models.model_card import normalise_line
from tests.models.nets import small_student
from tests.worker.stages.feature_sets import small_store, write_features
from tests.worker.stages.networks import SMALL_VGG, write_network
from worker.config.cluster import ClusterConfig
from worker.config.evaluate import EvaluateConfig, ReportConfig
from worker.config.export import ExportConfig
from worker.config.label import LabelConfig
from worker.config.reasons import Reason
from worker.config.sources import ClassLabelsConfig
from worker.stages import class_labels, cluster, evaluate, export, label
from worker.stages.contract import StageError
from worker.stages.report import ReportInputs, run
from worker.stages.standalone import LocalContext

TEACHER_FACTS = {"accuracy": 0.318, "chance_accuracy": 0.01, "permutations": 100, "loss": 2.5, "chance_loss": 4.6}
STUDENT_FACTS = {"epochs": 12.5, "images_seen": 12345, "holdout_accuracy": 0.42, "images_held_out": 31}


class Given:
    """What a whole run leaves behind, made small."""

    def __init__(self, path: Path, labels: list[str | None] | None = None) -> None:
        self.path = path
        self.store = small_store(path / "store", 60, 70, labels)
        values = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
        features = write_features(path / "features", values, self.store.digest)
        clustering = cluster.run(
            ClusterConfig(k=6), cluster.ClusterInputs(features=features), LocalContext(path / "clustering")
        )
        self.centroids = clustering.centroids.path
        inputs = label.LabelInputs(store=self.store.path, features=features, centroids=self.centroids)
        self.labels = label.run(LabelConfig(), inputs, LocalContext(path / "labelling")).labels.path
        self.student = self._network("student", STUDENT_FACTS, classes=6)
        self.teacher = self._network("teacher", TEACHER_FACTS, classes=100)

    def _network(self, role: str, facts: dict[str, object], classes: int) -> Path:
        folder = write_network(self.path / role, role=role, **({"backbone": SMALL_VGG} if role == "teacher" else {}))
        record = json.loads((folder / "checkpoint.json").read_text())
        (folder / "checkpoint.json").write_text(json.dumps({**record, "training": facts, "classes": classes}))
        return folder

    def report(self, config: ReportConfig = ReportConfig(), **inputs: Path) -> tuple[Path, str]:  # noqa: B008
        roles = {"store": self.store.path, "labels": self.labels, "student": self.student}
        made = run(config, ReportInputs(**roles, **inputs), LocalContext(self.path / "out")).report.path
        return made, (made / "report.md").read_text()


def test_tells_the_whole_run(tmp_path: Path) -> None:
    given = Given(tmp_path, [str(index % 2) for index in range(60)])
    inputs = evaluate.EvaluateInputs(store=given.store.path, student=given.student, teacher=given.teacher)
    config = EvaluateConfig(max_dims=64, probe_epochs=2, holdout=0.4)
    evaluation = evaluate.run(config, inputs, LocalContext(tmp_path / "evaluating")).evaluation.path
    made, text = given.report(teacher=given.teacher, centroids=given.centroids, evaluation=evaluation)
    assert sorted(file.name for file in made.iterdir()) == ["clusters.png", "conv1.png", "report.md"]
    assert "The teacher solved 31.8% of its puzzles" in text
    assert "guessing would solve 1.00%" in text
    assert "The student tells the cluster of 42.0% of 31 images that it never trained on" in text
    assert "60 images, stored as squares of 70 pixels; 2 classes of labels" in text
    assert "| images with a label | 60 of 60 |" in text
    assert "conv4, 12 x 1 x 1" in text
    assert "| untrained, calibrated |" in text
    assert "### What the numbers show" in text


def test_only_files_that_were_made_are_explained(tmp_path: Path) -> None:
    given = Given(tmp_path)
    _, text = given.report()
    assert "How to load" not in text
    config = ExportConfig(formats=("safetensors", "onnx"))
    record, net = small_student("alexnet")
    save_checkpoint(tmp_path / "whole", record, net.backbone, net.head)
    exported = export.ExportInputs(student=tmp_path / "whole", teacher=given.teacher)
    weights = export.run(config, exported, LocalContext(tmp_path / "exporting")).weights.path
    _, text = given.report(weights=weights)
    assert re.findall(r"^`(.+)`:$", text, re.MULTILINE) == ["alexnet.safetensors", "alexnet.onnx"]
    assert 'net = load_alexnet("alexnet.safetensors")' in text
    assert f"Input: (N, 3, {record.crop}, {record.crop}) float32, {normalise_line(record.pixels)}." in text


def test_weights_without_a_card_are_refused(tmp_path: Path) -> None:
    given = Given(tmp_path)
    (tmp_path / "weights").mkdir()
    with pytest.raises(StageError) as refused:
        given.report(weights=tmp_path / "weights")
    assert refused.value.reason == Reason.artifact_corrupt


def test_a_supervised_run_speaks_of_classes(tmp_path: Path) -> None:
    given = Given(tmp_path, [str(index % 2) for index in range(60)])
    inputs = class_labels.ClassLabelsInputs(store=given.store.path)
    taught = class_labels.run(ClassLabelsConfig(), inputs, LocalContext(tmp_path / "taught")).labels.path
    given.labels = taught
    _, text = given.report()
    assert "2 classes of labels, which the student was taught." in text
    assert "The student tells the class of 42.0%" in text
    assert "A row is a class: the largest first, and in it the images that come first in the dataset." in text
    assert "## Classes" in text


def test_an_untrained_teacher_is_named(tmp_path: Path) -> None:
    given = Given(tmp_path)
    record = json.loads((given.teacher / "checkpoint.json").read_text())
    (given.teacher / "checkpoint.json").write_text(json.dumps({**record, "training": {"untrained": True}}))
    _, text = given.report(teacher=given.teacher)
    assert "The teacher is an untrained network: the clusters show what random weights see." in text


def test_what_the_teacher_saw_is_shown_where_that_is_known(tmp_path: Path) -> None:
    given = Given(tmp_path)
    without, text = given.report(teacher=given.teacher)
    assert "What the teacher saw" not in text
    assert not (without / "preview.png").exists()
    Image.new("RGB", (4, 3), "red").save(given.teacher / "preview.png")
    made, text = given.report(teacher=given.teacher)
    assert (made / "preview.png").read_bytes() == (given.teacher / "preview.png").read_bytes()
    assert "![Examples of the task](preview.png)" in text


def test_without_teacher_centroids_and_evaluation_the_clusters_are_what_to_look_at(tmp_path: Path) -> None:
    _, text = Given(tmp_path).report()
    assert "No evaluation was made: look at the clusters." in text
    assert "no labels" in text
    assert "teacher" not in text
    assert "k-means" not in text


def test_an_evaluation_without_labels_says_so(tmp_path: Path) -> None:
    given = Given(tmp_path)
    inputs = evaluate.EvaluateInputs(store=given.store.path, student=given.student)
    made = evaluate.run(EvaluateConfig(), inputs, LocalContext(tmp_path / "evaluating")).evaluation.path
    _, text = given.report(evaluation=made)
    assert "The dataset has no labels, so accuracies can't be measured: look at the clusters." in text


def test_the_contact_sheet_has_as_many_rows_as_asked(tmp_path: Path) -> None:
    given = Given(tmp_path)
    few, _ = given.report(ReportConfig(clusters=2, thumbnail=40))
    heights = [Image.open(few / "clusters.png").height]
    all_of_them, _ = given.report(ReportConfig(clusters=50, thumbnail=40))
    heights.append(Image.open(all_of_them / "clusters.png").height)
    assert heights[1] - heights[0] == 4 * 42


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    given = Given(tmp_path)
    np.save(given.labels / "labels.npy", np.zeros(5, np.int32))
    with pytest.raises(StageError, match="5 pseudo-labels for 60 images") as caught:
        given.report()
    assert caught.value.reason is Reason.bad_config
