from worker.evaluation.interval import Accuracy, Difference
from worker.evaluation.record import Evaluation, LinearResult, TapDifference, TapResult
from worker.evaluation.words import evaluation_words

PROTOCOL = {
    "train": 800,
    "held_out": 200,
    "classes": ["cat", "dog"],
    "dropped_classes": {"emu": 1},
    "majority": 0.55,
    "confidence": 0.95,
    "knn": 20,
}


def result(top1: float) -> TapResult:
    accuracy = Accuracy(top1=top1, low=top1 - 0.03, high=top1 + 0.03, n=200)
    linear = LinearResult(**accuracy.model_dump(), per_seed={"0": top1})
    return TapResult(shape=(8, 2, 2), knn=accuracy, linear=linear)


def difference(points: float) -> TapDifference:
    found = Difference(difference=points, low=points - 0.02, high=points + 0.02, beyond=abs(points) > 0.02)
    return TapDifference(knn=found, linear=found)


def evaluation(conv3: float, conv5: float) -> Evaluation:
    return Evaluation(
        labelled=True,
        protocol=PROTOCOL,
        networks={
            "random": {"conv3": result(0.6), "conv5": result(0.6)},
            "student": {"conv3": result(0.6 + conv3), "conv5": result(0.6 + conv5)},
        },
        differences={"student - random": {"conv3": difference(conv3), "conv5": difference(conv5)}},
    )


def words(conv3: float, conv5: float) -> str:
    return "\n".join(evaluation_words(evaluation(conv3, conv5)))


def test_tables_hold_figures_with_their_intervals() -> None:
    text = words(0.05, 0.01)
    assert "| untrained | 60.0 (57.0–63.0) | 60.0 (57.0–63.0) |" in text
    assert "| student (distilled) | 65.0 (62.0–68.0) | 61.0 (58.0–64.0) |" in text
    assert "| untrained | **+5.0 (+3.0 to +7.0)** | +1.0 (-1.0 to +3.0) |" in text


def test_says_what_is_beyond_the_interval_and_what_is_not() -> None:
    text = words(0.05, 0.01)
    assert "better beyond the interval at conv3; no clear difference at conv5" in text
    assert "learned something that the untrained network lacks, at 1 of 2 layers" in text


def test_claims_nothing_where_nothing_differs() -> None:
    assert "don't show the student to be better than the untrained network" in words(0.01, -0.01)


def test_says_plainly_when_the_student_is_worse() -> None:
    assert "not better than the untrained network at any layer, and worse at 1 of 2" in words(-0.05, 0.0)
    assert "mixed: better than the untrained network at 1 of 2 layers and worse at 1" in words(0.05, -0.05)


def test_says_who_took_part() -> None:
    text = words(0, 0)
    assert "Frozen features of 800 labelled images" in text
    assert "Left out for too few images: emu (1)." in text


def test_without_labels_only_the_reason_is_told() -> None:
    assert evaluation_words(Evaluation(labelled=False, reason="No labels.")) == ["No labels."]
