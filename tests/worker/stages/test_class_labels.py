import json
from pathlib import Path

import numpy as np
import pytest

from tests.worker.stages.feature_sets import small_store
from worker.config.evaluate import EvaluateConfig
from worker.config.pipeline import ArtifactKind
from worker.config.probe import LabelSplit
from worker.config.reasons import Reason
from worker.config.sources import ClassLabelsConfig
from worker.data.store import ImageStore
from worker.evaluation.split import split_labelled
from worker.stages.class_labels import ClassLabelsInputs, ClassLabelsResult, run
from worker.stages.contract import StageError
from worker.stages.pseudo_labels import read_labels
from worker.stages.standalone import LocalContext


def label(path: Path, labels: list[str | None], holdout: float = 0) -> tuple[ClassLabelsResult, LocalContext]:
    store, context = small_store(path / "store", len(labels), labels=labels), LocalContext(path / "out")
    return run(ClassLabelsConfig(holdout=holdout), ClassLabelsInputs(store=store.path), context), context


def test_the_dataset_s_labels_become_a_label_set(tmp_path: Path) -> None:
    made, context = label(tmp_path, ["dog", "cat", "dog", "ant"])
    folder = made.labels.path
    facts = json.loads((folder / "labels.json").read_text())
    assert made.labels.kind is ArtifactKind.pseudo_label_set
    assert np.load(folder / "labels.npy").tolist() == [2, 1, 2, 0]
    assert np.load(folder / "labels.npy").dtype == np.int32
    assert np.isnan(np.load(folder / "distances.npy")).all()
    assert (facts["names"], facts["sizes"]) == (["ant", "cat", "dog"], [1, 1, 2])
    assert (facts["source"], facts["k"], facts["count"], facts["labelled"]) == ("classes", 3, 4, 4)
    assert (folder / "manifest.jsonl").read_text() == (tmp_path / "store" / "manifest.jsonl").read_text()
    assert context.messages == []


def test_training_reads_it(tmp_path: Path) -> None:
    labels = read_labels(label(tmp_path, ["dog", "cat", None])[0].labels.path, 3)
    assert (labels.values.tolist(), labels.classes) == ([1, 0, -1], 2)


def test_images_without_a_label_are_told_and_left_out(tmp_path: Path) -> None:
    made, context = label(tmp_path, ["dog", None, "cat", None, None])
    assert made.labels.summary["labelled"] == 2
    assert context.messages == ["3 of 5 images have no label and are left out of training."]


def test_images_that_judge_keep_their_labels_back(tmp_path: Path) -> None:
    made, context = label(tmp_path, ["dog", "cat", None] * 20, holdout=0.3)
    store = ImageStore.open(tmp_path / "store")
    judge = EvaluateConfig(holdout=0.3)
    split = split_labelled(store.paths, store.labels, judge.holdout, None, seed=0)
    taught = read_labels(made.labels.path, store.count)
    assert np.flatnonzero(taught.values >= 0).tolist() == split.images[~split.held_out].tolist()
    assert (taught.holdout, taught.classes) == (0.3, 2)
    assert context.messages[-1].startswith(f"{len(split.judged)} labelled images keep their labels for evaluations")


def test_by_default_no_image_that_judges_is_taught() -> None:
    config = ClassLabelsConfig()
    assert config.holdout >= max(EvaluateConfig().holdout, LabelSplit().holdout)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [([None, None], "has no labels: register it with"), (["dog", "dog"], "only one class, 'dog'")],
)
def test_fewer_than_two_classes_are_refused(tmp_path: Path, labels: list[str | None], sentence: str) -> None:
    with pytest.raises(StageError, match=sentence) as caught:
        label(tmp_path, labels)
    assert caught.value.reason is Reason.bad_labels
    assert not list((tmp_path / "out").iterdir())
