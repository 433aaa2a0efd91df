import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score
from sklearn.metrics import confusion_matrix as reference

from worker.evaluation.mean_iou import VOID, class_iou, confusion_matrix, mean_accuracy, mean_iou, pixel_accuracy

CLASSES = 4
Labels = NDArray[np.int64]


@st.composite
def maps(draw: st.DrawFn) -> tuple[Labels, Labels]:
    """What was said and the truth of up to 60 pixels, some of them void, at least one judged."""
    length = draw(st.integers(1, 60))
    said = draw(st.lists(st.integers(0, CLASSES - 1), min_size=length, max_size=length))
    truth = draw(st.lists(st.sampled_from([0, 1, 2, 3, VOID]), min_size=length, max_size=length))
    return np.array([*said, 0]), np.array([*truth, 0])


def counted(said: Labels, truth: Labels) -> torch.Tensor:
    return confusion_matrix(torch.from_numpy(said), torch.from_numpy(truth), CLASSES)


@given(maps())
def test_the_same_matrix_and_shares_as_scikit_learns(pair: tuple[Labels, Labels]) -> None:
    said, truth = pair
    matrix = counted(said, truth)
    judged = truth != VOID
    said, truth = said[judged], truth[judged]
    np.testing.assert_array_equal(matrix.numpy(), reference(truth, said, labels=range(CLASSES)))
    there = np.union1d(said, truth)
    np.testing.assert_allclose(class_iou(matrix).numpy()[there], jaccard_score(truth, said, labels=there, average=None))
    np.testing.assert_allclose(float(mean_iou(matrix)), jaccard_score(truth, said, labels=there, average="macro"))
    np.testing.assert_allclose(float(pixel_accuracy(matrix)), accuracy_score(truth, said))
    if set(said) <= set(truth):
        np.testing.assert_allclose(float(mean_accuracy(matrix)), balanced_accuracy_score(truth, said))


@given(maps())
def test_whatever_is_said_of_void_pixels_does_not_count(pair: tuple[Labels, Labels]) -> None:
    said, truth = pair
    other = np.where(truth == VOID, (said + 1) % CLASSES, said)
    assert torch.equal(counted(said, truth), counted(other, truth))


def test_the_truth_said_again_scores_one() -> None:
    truth = np.array([0, 1, 1, 3, VOID])
    matrix = counted(np.where(truth == VOID, 2, truth), truth)
    assert float(mean_iou(matrix)) == float(pixel_accuracy(matrix)) == float(mean_accuracy(matrix)) == 1


def test_a_class_that_is_nowhere_is_left_out_of_the_mean() -> None:
    matrix = counted(np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert class_iou(matrix)[:2].tolist() == [0.5, 0.5]
    assert bool(class_iou(matrix)[2:].isnan().all())
    assert float(mean_iou(matrix)) == 0.5


def test_matrices_of_images_are_measured_one_by_one_or_summed() -> None:
    pairs = [(np.array([0, 1, 2]), np.array([0, 1, 1])), (np.array([3, 3]), np.array([3, 0]))]
    matrices = torch.stack([counted(*pair) for pair in pairs])
    for matrix, value in zip(matrices, mean_iou(matrices), strict=True):
        assert float(mean_iou(matrix)) == float(value)
    said, truth = (np.concatenate(sides) for sides in zip(*pairs, strict=True))
    assert torch.equal(matrices.sum(0), counted(said, truth))


def test_nothing_judged_has_no_share() -> None:
    assert bool(mean_iou(counted(np.array([1]), np.array([VOID]))).isnan())
