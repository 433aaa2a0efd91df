import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import average_precision_score

from worker.evaluation.average_precision import ApRule
from worker.evaluation.detection_ap import (
    FALSE,
    FOUND,
    IGNORED,
    Boxes,
    Floats,
    Integers,
    image_scores,
    judge,
    mean_average_precision,
    overlaps,
    recall,
    resampled,
)

RULES: tuple[ApRule, ...] = ("voc07", "all-point")


def boxes(rows: list[tuple[int, int, tuple[float, ...], float, bool]]) -> Boxes:
    """From (image, label, box, score, difficult) each."""
    image, label, box, score, difficult = zip(*rows, strict=True) if rows else ([], [], [], [], [])
    return Boxes(
        np.array(image, np.int64),
        np.array(label, np.int64),
        np.array(box, np.float64).reshape(-1, 4),
        np.array(score, np.float64),
        np.array(difficult, np.bool_),
    )


def objects_apart(rng: np.random.Generator, images: int, classes: int) -> Boxes:
    """Up to five objects an image, none of which overlap: one to a column."""
    rows = []
    for image in range(images):
        for column in range(rng.integers(0, 6)):
            left, top = 100 * column + rng.integers(0, 20), rng.integers(0, 50)
            box = (left, top, left + rng.integers(30, 80), top + rng.integers(30, 80))
            rows.append((image, int(rng.integers(classes)), tuple(map(float, box)), 0.0, bool(rng.random() < 0.2)))
    rows.append((0, 0, (600.0, 0.0, 640.0, 40.0), 0.0, False))
    return boxes(rows)


def detections_near(rng: np.random.Generator, objects: Boxes, images: int, classes: int) -> Boxes:
    """Each object up to three times, shifted, at times as another class; and boxes anywhere. All scores differ."""
    rows = []
    for image, label, box in zip(objects.image, objects.label, objects.box, strict=True):
        for _ in range(rng.integers(0, 4)):
            told = int(label) if rng.random() < 0.8 else int(rng.integers(classes))
            shifted = np.round(box + rng.normal(0, 8, 4))
            shifted[2:] = np.maximum(shifted[2:], shifted[:2] + 5)
            rows.append((int(image), told, tuple(shifted), 0.0, False))
    for _ in range(rng.integers(0, 10)):
        corner = np.round(rng.uniform(0, 500, 2))
        box = (*corner, *(corner + rng.integers(10, 80, 2)))
        rows.append((int(rng.integers(images)), int(rng.integers(classes)), box, 0.0, False))
    scores = rng.permutation(len(rows)) / max(1, len(rows))
    return boxes([(*row[:3], score, False) for row, score in zip(rows, scores, strict=True)])


def coco_curve(objects: Boxes, detections: Boxes, images: int, label: int, recalls: Floats) -> Floats:
    """COCOeval's interpolated precision of one class at an overlap of one half, at the asked `recalls`."""
    truth, told = objects.of_class(label), detections.of_class(label)
    known = COCO()
    known.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": 0}],
        "annotations": [
            {"id": number, "image_id": int(image), "category_id": 0, "bbox": xywh(box), "area": 1.0, "iscrowd": 0}
            for number, (image, box) in enumerate(zip(truth.image, truth.box, strict=True), start=1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        known.createIndex()
        rows = zip(told.image, told.box, told.score, strict=True)
        evaluator = COCOeval(known, known.loadRes(np.array([[i, *xywh(b), s, 0] for i, b, s in rows])), "bbox")
        evaluator.params.iouThrs, evaluator.params.recThrs = np.array([0.5]), recalls
        evaluator.params.maxDets, evaluator.params.areaRng = [1000], [[0, 1e10]]
        evaluator.evaluate()
        evaluator.accumulate()
    curve: Floats = evaluator.eval["precision"][0, :, 0, 0, 0]
    return curve


def xywh(box: Floats) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_is_cocoeval_s_where_objects_do_not_overlap(seed: int) -> None:
    # Where objects lie apart no detection meets two of them, so VOC's verdicts and COCO's are the same.
    rng = np.random.default_rng(seed)
    objects = objects_apart(rng, images=6, classes=3)
    objects.difficult[:] = False
    detections = detections_near(rng, objects, images=6, classes=3)
    for label, judged in enumerate(judge(detections, objects, 3, 6)):
        total = int(judged.objects.sum())
        if total == 0 or len(judged.score) == 0:
            continue
        # A shade less than k/10, so that 7 of 10 reaches 0.7 whatever the rounding.
        eleven = coco_curve(objects, detections, 6, label, np.arange(11) / 10 - 1e-9)
        assert judged.average_precision("voc07") == pytest.approx(eleven.mean(), abs=1e-9)
        # The curve is constant over each 1/total of recall, so its values in the middles give the whole area.
        middles = coco_curve(objects, detections, 6, label, (np.arange(total) + 0.5) / total)
        assert judged.average_precision("all-point") == pytest.approx(middles.mean(), abs=1e-9)
        coco = coco_curve(objects, detections, 6, label, np.linspace(0, 1, 101))
        assert judged.average_precision("all-point") == pytest.approx(coco.mean(), abs=0.011)


def devkit(detections: Boxes, objects: Boxes, label: int) -> tuple[list[int], int]:
    """The devkit's loop, as written in MATLAB: verdicts in the order of the scores, and the objects to be found."""
    truth = objects.of_class(label)
    seen = [False] * len(truth)
    verdicts = []
    told = detections.of_class(label).sorted_by_score()
    for image, box in zip(told.image, told.box, strict=True):
        best, largest = -1, -np.inf
        for number in range(len(truth)):
            if truth.image[number] == image and (shared := float(overlaps(box[None], truth.box[number][None])[0, 0])):
                best, largest = (number, shared) if shared > largest else (best, largest)
        if largest < 0.5:
            verdicts.append(FALSE)
        elif truth.difficult[best]:
            verdicts.append(IGNORED)
        else:
            verdicts.append(FALSE if seen[best] else FOUND)
            seen[best] = True
    return verdicts, int((~truth.difficult).sum())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_verdicts_are_the_devkit_s_also_where_objects_overlap_or_are_difficult(seed: int) -> None:
    rng = np.random.default_rng(seed)
    objects = objects_apart(rng, images=4, classes=2)
    objects.box[:, [0, 2]] *= 0.3
    detections = detections_near(rng, objects, images=4, classes=2)
    for label, judged in enumerate(judge(detections, objects, 2, 4)):
        verdicts, total = devkit(detections, objects, label)
        assert judged.verdict.tolist() == verdicts
        assert judged.objects.sum() == total


BOX, ELSEWHERE = (10.0, 10.0, 50.0, 50.0), (100.0, 100.0, 140.0, 150.0)


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 10**6))
def test_a_perfect_detector_scores_one(rule: ApRule, seed: int) -> None:
    objects = objects_apart(np.random.default_rng(seed), images=4, classes=3)
    objects.difficult[:-1] = False
    assert mean_average_precision(judge(objects, objects, 3, 4), rule) == 1


@pytest.mark.parametrize("rule", RULES)
def test_a_detector_that_says_nothing_scores_zero(rule: ApRule) -> None:
    objects = boxes([(0, 0, BOX, 0, False), (1, 1, BOX, 0, False)])
    assert mean_average_precision(judge(boxes([]), objects, 2, 2), rule) == 0


def test_a_second_detection_of_an_object_is_a_false_positive() -> None:
    objects = boxes([(0, 0, BOX, 0, False), (0, 0, ELSEWHERE, 0, False)])
    told = [(0, 0, BOX, 0.9, False), (0, 0, BOX, 0.8, False), (0, 0, ELSEWHERE, 0.7, False)]
    [judged] = judge(boxes(told), objects, 1, 1)
    assert judged.verdict.tolist() == [FOUND, FALSE, FOUND]
    assert judged.average_precision("all-point") == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_the_surer_detection_finds_the_object_even_where_the_other_fits_better() -> None:
    loose = (10.0, 10.0, 50.0, 60.0)
    [judged] = judge(boxes([(0, 0, BOX, 0.2, False), (0, 0, loose, 0.9, False)]), boxes([(0, 0, BOX, 0, False)]), 1, 1)
    assert judged.score.tolist() == [0.9, 0.2]
    assert judged.verdict.tolist() == [FOUND, FALSE]


def test_a_detection_does_not_take_the_next_best_object() -> None:
    near = (12.0, 10.0, 52.0, 50.0)
    objects = boxes([(0, 0, BOX, 0, False), (0, 0, near, 0, False)])
    [judged] = judge(boxes([(0, 0, BOX, 0.9, False), (0, 0, BOX, 0.8, False)]), objects, 1, 1)
    assert judged.verdict.tolist() == [FOUND, FALSE]


def test_difficult_objects_need_not_be_found_and_finding_them_costs_nothing() -> None:
    objects = boxes([(0, 0, BOX, 0, True), (0, 0, ELSEWHERE, 0, False)])
    told = [(0, 0, BOX, 0.9, False), (0, 0, BOX, 0.8, False), (0, 0, ELSEWHERE, 0.7, False)]
    [judged] = judge(boxes(told), objects, 1, 1)
    assert judged.verdict.tolist() == [IGNORED, IGNORED, FOUND]
    assert judged.average_precision("voc07") == 1


def test_half_an_overlap_is_enough_and_less_is_not() -> None:
    half, less = (10.0, 10.0, 50.0, 30.0), (10.0, 10.0, 50.0, 29.9)
    objects = boxes([(0, 0, BOX, 0, False), (1, 0, BOX, 0, False)])
    [judged] = judge(boxes([(0, 0, half, 0.9, False), (1, 0, less, 0.8, False)]), objects, 1, 2)
    assert judged.verdict.tolist() == [FOUND, FALSE]


def test_the_same_box_in_another_image_or_class_finds_nothing() -> None:
    objects = boxes([(0, 0, BOX, 0, False)])
    first, second = judge(boxes([(1, 0, BOX, 0.9, False), (0, 1, BOX, 0.9, False)]), objects, 2, 2)
    assert first.verdict.tolist() == second.verdict.tolist() == [FALSE]
    assert first.average_precision("voc07") == 0
    assert np.isnan(second.average_precision("voc07"))


@pytest.mark.parametrize("rule", RULES)
def test_a_resampled_map_is_that_of_the_repeated_images(rule: ApRule) -> None:
    rng = np.random.default_rng(3)
    objects = objects_apart(rng, images=5, classes=2)
    detections = detections_near(rng, objects, images=5, classes=2)
    counts = rng.multinomial(5, np.full(5, 0.2), size=4)
    found = resampled(judge(detections, objects, 2, 5), rule, torch.from_numpy(counts.astype(np.float64)))
    for times, value in zip(counts, found.nanmean(0).tolist(), strict=True):
        drawn = np.repeat(np.arange(5), times)
        judged = judge(repeated(detections, drawn), repeated(objects, drawn), 2, len(drawn))
        assert value == pytest.approx(mean_average_precision(judged, rule), abs=1e-12)


def repeated(some: Boxes, drawn: Integers) -> Boxes:
    """Of the images `drawn`, numbered anew."""
    rows = [np.flatnonzero(some.image == image) for image in drawn]
    image = np.repeat(np.arange(len(drawn)), [len(part) for part in rows])
    at = np.concatenate(rows).astype(np.int64)
    return Boxes(image, some.label[at], some.box[at], some.score[at], some.difficult[at])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_an_image_s_score_is_sklearn_s_average_precision_within_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    objects = objects_apart(rng, images=5, classes=3)
    told = judge(detections_near(rng, objects, images=5, classes=3), objects, 3, 5)
    for image, score in enumerate(image_scores(told)):
        expected = []
        for judged in (one for one in told if one.objects[image]):
            rows = (judged.image == image) & (judged.verdict != IGNORED)
            found = judged.verdict[rows] == FOUND
            missed = 1 - found.sum() / judged.objects[image]
            expected.append((1 - missed) * average_precision_score(found, judged.score[rows]) if found.any() else 0)
        assert score == pytest.approx(np.mean(expected) if expected else 1)


def test_an_image_s_score_looks_at_no_other_image() -> None:
    objects = boxes([(0, 0, BOX, 0, False), (1, 0, BOX, 0, False), (1, 1, BOX, 0, False), (2, 1, BOX, 0, True)])
    told = [(0, 0, ELSEWHERE, 0.9, False), (1, 0, BOX, 0.1, False), (0, 0, BOX, 0.5, False), (2, 0, BOX, 0.7, False)]
    assert image_scores(judge(boxes(told), objects, 2, 4)).tolist() == [0.5, 0.5, 1, 1]


def test_recall_counts_the_objects_some_proposal_meets_by_half() -> None:
    objects = boxes([(0, 0, BOX, 0, False), (0, 0, ELSEWHERE, 0, False), (1, 0, BOX, 0, False), (1, 0, BOX, 0, True)])
    proposals = [np.array([ELSEWHERE, (10.0, 10.0, 50.0, 30.0)]), np.zeros((0, 4))]
    assert recall(proposals, objects) == pytest.approx(2 / 3)


def test_overlap_is_shared_area_by_joined_area() -> None:
    shared = overlaps(np.array([BOX, (0.0, 0.0, 0.0, 0.0)]), np.array([(30.0, 10.0, 70.0, 50.0), ELSEWHERE]))
    np.testing.assert_allclose(shared, [[1 / 3, 0], [0, 0]])
