from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.worker.evaluation.attempts import interrupted, metrics
from tests.worker.evaluation.plain_colours import COLOURS, write_student
from tests.worker.stages.networks import write_network
from worker.config.reasons import Reason
from worker.config.transfer import VocClassificationProtocol
from worker.data.annotated import AnnotatedStore, Annotation, write_annotated_store
from worker.evaluation.multilabel import Marks
from worker.evaluation.transfer_result import TransferResult
from worker.evaluation.voc_classification import Halving, MarkedLoss, deviations, run_voc_classification
from worker.stages.contract import StageError, Stopped
from worker.stages.standalone import LocalContext

CPU = torch.device("cpu")
BOX = (0.0, 0.0, 4.0, 4.0)
SMALL: dict[str, Any] = {"crop": 40, "iterations": 3, "batch": 8, "width": 16, "crops": 1, "train_set": "train"}


@pytest.fixture
def store(tmp_path: Path) -> AnnotatedStore:
    """48 photographs of various shapes, half of which teach: one colour each, its name the class of their object."""
    rng = np.random.default_rng(0)
    images, objects, sets = {}, {}, {"train": [], "test": []}
    for number in range(48):
        name = list(COLOURS)[number % 3]
        shape = (30 + number % 5, 50) if number % 2 else (50, 40 + number % 7)
        noise = rng.normal(0, 20, (*shape, 3))
        images[f"{number:02}"] = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
        objects[f"{number:02}"] = [Annotation(name, BOX)]
        sets["train" if number < 24 else "test"].append(f"{number:02}")
    images["unlisted"] = images["00"]
    sets["train"].append("unlisted")
    write_annotated_store(tmp_path / "store", images, sets, objects)
    return AnnotatedStore.open(tmp_path / "store")


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return write_student(tmp_path / "student")


def classify(
    store: AnnotatedStore,
    student: Path,
    stop_after: int | None = None,
    **protocol: Any,  # noqa: ANN401
) -> TransferResult:
    context = LocalContext(student.parent / "work", stop_after=stop_after)
    asked = VocClassificationProtocol(**{**SMALL, **protocol})
    return run_voc_classification(asked, student, store, CPU, context)


def test_learns_to_tell_the_classes(store: AnnotatedStore, student: Path) -> None:
    result = classify(store, student, iterations=60, lr=0.02, width=512, crops=10)
    assert result.metric == "mAP"
    assert result.cells["class"].value > 0.95
    assert result.right is not None
    assert result.right["class"].mean() > 0.95


def test_says_all_there_is_to_say(store: AnnotatedStore, student: Path) -> None:
    result = classify(store, student, seeds=(0, 1))
    assert list(result.cells) == ["class"]
    assert list(result.further) == ["mAP all-point", "AP blue", "AP green", "AP red"]
    assert list(result.cells["class"].per_seed) == ["0", "1"]
    assert result.cells["class"].n == 24
    assert list(result.image_ids) == [f"{number:02}" for number in range(24, 48)]
    assert result.right is not None
    assert result.right["class"].shape == (24,)
    facts = result.facts
    assert (facts["train_images"], facts["test_images"], facts["images_without_objects_list"]) == (24, 24, 1)
    assert facts["test_images_of_class"] == {"blue": 8, "green": 8, "red": 8}
    of_classes = [cells["class"].value for name, cells in result.further.items() if name.startswith("AP")]
    assert result.cells["class"].value == pytest.approx(np.mean(of_classes))


def test_the_other_rule_is_a_further_metric(store: AnnotatedStore, student: Path) -> None:
    eleven, area = (classify(store, student, ap=rule) for rule in ("voc07", "all-point"))
    assert eleven.further["mAP all-point"]["class"] == area.cells["class"]
    assert area.further["mAP voc07"]["class"] == eleven.cells["class"]


def test_what_lies_below_stays_as_it_is(store: AnnotatedStore, student: Path) -> None:
    before = (student / "model.pt").read_bytes()
    found = {mode: classify(store, student, mode=mode).trunk_unchanged for mode in ("all", "fc678", "fc8")}
    assert found == {"all": None, "fc678": True, "fc8": True}
    assert (student / "model.pt").read_bytes() == before


def test_one_new_layer_on_the_student_s_own_fc7_learns_too(store: AnnotatedStore, tmp_path: Path) -> None:
    student = write_student(tmp_path / "wide", width=64)
    assert classify(store, student, mode="fc8", iterations=60, lr=0.05).cells["class"].value > 0.9


def test_one_new_layer_needs_a_classifier_below(store: AnnotatedStore, tmp_path: Path) -> None:
    trunk = write_network(tmp_path / "trunk")
    with pytest.raises(StageError, match="no fc6 and fc7") as caught:
        classify(store, trunk, mode="fc8", crop=64)
    assert caught.value.reason is Reason.bad_config


def test_the_seed_decides(store: AnnotatedStore, student: Path) -> None:
    first, again, other = (classify(store, student, seeds=(seed,)).facts["training_loss"] for seed in (0, 0, 1))
    assert first["0"] == again["0"] != other["1"]


def test_asked_classes_alone_are_told(store: AnnotatedStore, student: Path) -> None:
    result = classify(store, student, classes=("red", "blue"))
    assert result.facts["classes"] == ["red", "blue"]
    assert [name for name in result.further if name.startswith("AP")] == ["AP red", "AP blue"]


def test_a_class_that_no_training_image_shows_is_left_out_and_named(tmp_path: Path, student: Path) -> None:
    pixels = {name: np.full((40, 40, 3), 90, np.uint8) for name in "abcd"}
    objects = {"a": [Annotation("cat", BOX)], "b": [Annotation("cat", BOX), Annotation("dog", BOX, True)]}
    objects |= {"c": [Annotation("dog", BOX)], "d": [Annotation("cat", BOX)]}
    write_annotated_store(tmp_path / "pets", pixels, {"train": ["a", "b"], "test": ["c", "d"]}, objects)
    result = classify(AnnotatedStore.open(tmp_path / "pets"), student)
    assert result.facts["classes"] == ["cat"]
    assert result.facts["classes_without_training_images"] == ["dog"]


@pytest.mark.parametrize(
    ("asked", "reason", "words"),
    [
        ({"classes": ("cat", "red")}, Reason.bad_config, "no class called cat; known: blue, green, red"),
        ({"train_set": "nowhere"}, Reason.bad_config, "no image set 'nowhere'"),
        ({"lr": 1e30}, Reason.diverged, "diverged"),
    ],
)
def test_bad_requests_are_refused_by_name(
    store: AnnotatedStore, student: Path, asked: dict[str, Any], reason: Reason, words: str
) -> None:
    with pytest.raises(StageError, match=words) as caught:
        classify(store, student, **asked)
    assert caught.value.reason is reason


def test_too_few_images_are_refused(tmp_path: Path, student: Path) -> None:
    pixels = {name: np.zeros((40, 40, 3), np.uint8) for name in "ab"}
    write_annotated_store(tmp_path / "few", pixels, {"train": ["a", "b"], "test": ["b"]}, {"b": []})
    with pytest.raises(StageError, match="'train' has 1 images with a list of objects") as caught:
        classify(AnnotatedStore.open(tmp_path / "few"), student)
    assert caught.value.reason is Reason.too_few_images


def test_images_without_any_object_are_no_ground_to_learn_from(tmp_path: Path, student: Path) -> None:
    pixels = {name: np.zeros((40, 40, 3), np.uint8) for name in "abc"}
    objects = {"a": [], "b": [], "c": [Annotation("cat", BOX)]}
    write_annotated_store(tmp_path / "bare", pixels, {"train": ["a", "b"], "test": ["c"]}, objects)
    with pytest.raises(StageError, match="shows an object") as caught:
        classify(AnnotatedStore.open(tmp_path / "bare"), student)
    assert caught.value.reason is Reason.bad_labels


def test_stops_between_steps(store: AnnotatedStore, student: Path) -> None:
    with pytest.raises(Stopped):
        classify(store, student, stop_after=2)


@pytest.mark.parametrize(
    ("mode", "looks", "killed"),
    [("all", [1], False), ("all", [3], False), ("all", [5, 1, 2], False), ("fc678", [6], True), ("fc8", [1], False)],
)
def test_goes_on_where_it_was_interrupted(
    store: AnnotatedStore,
    student: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    looks: list[int],
    killed: bool,
) -> None:
    """Each of two seeds is three steps and a look at the test images."""
    if killed:
        monkeypatch.setattr("worker.evaluation.journal.SAVE_SECONDS", 0.0)
    asked = VocClassificationProtocol(**SMALL, mode=mode, seeds=(0, 1))  # type: ignore[arg-type]

    def work(context: LocalContext) -> TransferResult:
        return run_voc_classification(asked, student, store, CPU, context)

    straight = LocalContext(tmp_path / "straight")
    whole, (found, contexts) = work(straight), interrupted(work, tmp_path, looks, killed)
    assert (found.cells, found.further) == (whole.cells, whole.further)
    assert found.facts["training_loss"] == whole.facts["training_loss"]
    assert found.right is not None
    assert whole.right is not None
    assert np.array_equal(found.right["class"], whole.right["class"])
    assert found.trunk_unchanged is whole.trunk_unchanged is (None if mode == "all" else True)
    assert list(dict.fromkeys(metrics(contexts))) == straight.metrics
    assert contexts[-1].done == straight.done


def test_the_state_of_another_protocol_or_dataset_is_left_aside(
    store: AnnotatedStore, student: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        classify(store, student, stop_after=2)
    for number, (data, rate) in enumerate([(store, 0.5), (replace(store, digest="another"), 0.001)]):
        context = LocalContext(tmp_path / str(number), resume_from=student.parent / "work")
        run_voc_classification(VocClassificationProtocol(**SMALL, lr=rate), student, data, CPU, context)
        assert any("starting afresh" in message for message in context.messages)


def test_batches_of_one_image_train(store: AnnotatedStore, student: Path) -> None:
    assert 0 <= classify(store, student, batch=1).cells["class"].value <= 1


def test_the_loss_sums_over_classes_and_forgets_ignored_ones() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    shown = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]]).bool()
    ignored = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]).bool()
    slow = 0.0
    for row in range(4):
        for column in range(3):
            if not ignored[row, column]:
                probability = float(logits[row, column].sigmoid())
                slow -= np.log(probability if shown[row, column] else 1 - probability)
    assert float(MarkedLoss(Marks(shown, ignored))(logits)) == pytest.approx(slow / 4, rel=1e-5)


def test_an_ignored_class_has_no_gradient() -> None:
    logits = torch.randn(2, 2, requires_grad=True)
    ignored = torch.tensor([[True, False], [False, False]])
    MarkedLoss(Marks(torch.zeros(2, 2, dtype=torch.bool), ignored))(logits).backward()
    assert logits.grad is not None
    assert (logits.grad == 0).tolist() == ignored.tolist()


def test_the_published_rate_halves_every_10_000_of_80_000() -> None:
    rate = Halving(8)
    found = [rate(step / 80_000) for step in (0, 9_999, 10_000, 19_999, 20_000, 79_999)]
    assert found == [1, 1, 0.5, 0.5, 0.25, 0.5**7]


def test_deviations_name_what_differs_from_the_published_protocol() -> None:
    published = deviations(VocClassificationProtocol(), ["class"] * 20)
    whole, eleven = published
    assert whole == "Photographs are resized to a longer side of 500 px first."
    assert eleven == (
        "The AP is the mean of the interpolated precision at eleven recalls; the published code's is the area below "
        "the curve as it is."
    )
    assert deviations(VocClassificationProtocol(ap="all-point"), ["class"] * 20) == [
        whole,
        "The AP is the area below the interpolated curve; the published code's is the area below the curve as it is.",
    ]
    said = deviations(VocClassificationProtocol(crop=96, iterations=500, mode="fc678"), ["class"] * 9)
    assert said[1:] == [
        "9 classes instead of 20.",
        "Trained layers: fc678 instead of all.",
        "Input side 96 instead of 227.",
        "Iterations: 500 instead of 80000.",
        eleven,
    ]
