from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score

from worker.config.reasons import Reason
from worker.data.annotated import AnnotatedStore, Annotation, write_annotated_store
from worker.evaluation.average_precision import average_precision
from worker.evaluation.bootstrap import bootstrap_weights
from worker.evaluation.multilabel import Judgement, Marks, class_precisions, label_rankings, read_marks
from worker.stages.contract import StageError

BOX = (0.0, 0.0, 2.0, 2.0)
NAMES = ("cat", "dog", "sheep")


def drawn_marks(seed: int, images: int = 40, classes: int = 3) -> Marks:
    chance = torch.rand(images, classes, generator=torch.Generator().manual_seed(seed))
    return Marks(chance < 0.3, (chance >= 0.3) & (chance < 0.4))


def drawn_scores(seed: int, images: int = 40, classes: int = 3) -> torch.Tensor:
    return torch.randn(images, classes, generator=torch.Generator().manual_seed(seed + 100))


def judgement(scores: list[torch.Tensor], marks: Marks) -> Judgement:
    weights = bootstrap_weights(len(marks.shown), 0, 100)
    return Judgement(scores, marks, NAMES, tuple(range(len(scores))), 0.95, weights)


def test_a_class_of_difficult_objects_only_is_ignored(tmp_path: Path) -> None:
    objects = {
        "a": [Annotation("cat", BOX), Annotation("cat", BOX, True)],
        "b": [Annotation("cat", BOX, True), Annotation("dog", BOX)],
        "c": [Annotation("bird", BOX)],
        "d": [],
    }
    pixels = {name: np.zeros((4, 4, 3), np.uint8) for name in objects}
    write_annotated_store(tmp_path / "store", pixels, {"all": list(objects)}, objects)
    marks = read_marks(AnnotatedStore.open(tmp_path / "store"), [0, 1, 2, 3], ["cat", "dog"])
    assert marks.shown.tolist() == [[True, False], [False, True], [False, False], [False, False]]
    assert marks.ignored.tolist() == [[False, False], [True, False], [False, False], [False, False]]


def test_images_with_nothing_to_find_are_refused_before_anything_is_learnt(tmp_path: Path) -> None:
    objects = {"a": [Annotation("cat", BOX, True)], "b": [Annotation("dog", BOX)]}
    write_annotated_store(
        tmp_path / "store", dict.fromkeys(objects, np.zeros((4, 4, 3), np.uint8)), {"all": ["a", "b"]}, objects
    )
    with pytest.raises(
        StageError, match="None of 2 images, a the first, shows an object of the asked classes"
    ) as error:
        read_marks(AnnotatedStore.open(tmp_path / "store"), [0, 1], ["cat"])
    assert error.value.reason is Reason.bad_labels


@given(st.integers(0, 50))
def test_every_class_is_ranked_by_itself(seed: int) -> None:
    scores, marks = drawn_scores(seed), drawn_marks(seed)
    found = class_precisions(scores, marks, torch.ones(1, 40), "voc07")[0]
    for place in range(3):
        columns = (part[:, place] for part in (scores, marks.shown, marks.ignored))
        ranked, shown, ignored = columns
        assert float(found[place]) == pytest.approx(average_precision(ranked, shown, "voc07", ignored), nan_ok=True)


def test_cells_are_means_over_seeds_within_their_intervals() -> None:
    marks = drawn_marks(0)
    judged = judgement([drawn_scores(seed) for seed in range(3)], marks)
    mean, each = judged.cells("all-point")
    assert list(each) == list(NAMES)
    for cell in (mean, *each.values()):
        assert cell.value == pytest.approx(np.mean(list(cell.per_seed.values())))
        assert 0 <= cell.low < cell.value < cell.high <= 1
        assert (cell.n, cell.interval) == (40, "bootstrap over images")
    assert mean.value == pytest.approx(np.mean([cell.value for cell in each.values()]))
    assert mean.high - mean.low < each["cat"].high - each["cat"].low


@pytest.mark.parametrize("rule", ["voc07", "all-point"])
def test_a_perfect_answer_scores_one_without_doubt(rule: str) -> None:
    marks = drawn_marks(0)
    wrong_where_ignored = torch.where(marks.ignored, 9.0, marks.shown.float())
    mean, _ = judgement([wrong_where_ignored], marks).cells(rule)  # type: ignore[arg-type]
    assert (mean.value, mean.low, mean.high) == (1, 1, 1)


def test_a_class_with_nothing_to_find_takes_no_part() -> None:
    marks = drawn_marks(0)
    marks.shown[:, 1] = False
    mean, each = judgement([drawn_scores(0)], marks).cells("voc07")
    assert list(each) == ["cat", "sheep"]
    assert mean.value == pytest.approx((each["cat"].value + each["sheep"].value) / 2)


@given(st.integers(0, 50))
def test_label_rankings_are_scikit_learn_s(seed: int) -> None:
    scores, shown = drawn_scores(seed, 30, 5), drawn_marks(seed, 30, 5).shown
    marks = Marks(shown, torch.zeros_like(shown))
    expected = label_ranking_average_precision_score(shown.numpy(), scores.numpy())
    assert float(label_rankings(scores, marks).mean()) == pytest.approx(expected)


@given(st.integers(0, 50))
def test_ignored_classes_take_no_rank(seed: int) -> None:
    scores, marks = drawn_scores(seed, 20, 5), drawn_marks(seed, 20, 5)
    found = label_rankings(scores, marks)
    for row, value in enumerate(found.tolist()):
        kept = ~marks.ignored[row]
        if not kept.any():
            assert value == 1
            continue
        shown = marks.shown[row][kept][None].numpy()
        assert value == pytest.approx(label_ranking_average_precision_score(shown, scores[row][kept][None].numpy()))
