import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from worker.evaluation.features import ResidentFeatures
from worker.evaluation.knn import TEMPERATURE, knn_predictions


def predictions(train: Tensor, labels: Tensor, queries: Tensor, neighbours: int, classes: int) -> Tensor:
    """Rows of one matrix: the queries come last."""
    features = ResidentFeatures(torch.cat([train, queries]))
    rows = torch.arange(features.count)
    return knn_predictions(features, rows[len(train) :], rows[: len(train)], labels, neighbours, classes)


def weights(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp((1 - distances) / TEMPERATURE)


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_equals_sklearn(neighbours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.evaluation.knn._CELLS", 1000)
    rng = np.random.default_rng(neighbours)
    train, queries, labels = (
        rng.normal(size=(150, 8)).astype(np.float32),
        rng.normal(size=(60, 8)).astype(np.float32),
        rng.integers(0, 4, 150),
    )
    theirs = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute", weights=weights).fit(train, labels)
    ours = predictions(torch.tensor(train), torch.tensor(labels), torch.tensor(queries), neighbours, 4)
    np.testing.assert_array_equal(ours, theirs.predict(queries))


def test_length_does_not_matter() -> None:
    train = torch.tensor([[10.0, 0], [0, 0.01]])
    assert predictions(train, torch.tensor([0, 1]), torch.tensor([[0.0, 5], [0.1, 0]]), 1, 2).tolist() == [1, 0]


def test_more_neighbours_than_images_means_all_vote() -> None:
    train = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1]])
    assert predictions(train, torch.tensor([0, 0, 1]), torch.tensor([[1.0, 0.05]]), 99, 2).tolist() == [0]
