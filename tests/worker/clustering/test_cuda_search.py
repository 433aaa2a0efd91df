"""The search is plain torch, so a CPU shows that it finds what faiss finds."""

import numpy as np
import torch

from worker.clustering.cuda_search import CudaSearch
from worker.clustering.nearest import NearestCentre


def test_the_nearest_centres_are_those_of_faiss() -> None:
    rng = np.random.default_rng(0)
    points, centres = rng.normal(size=(300, 24)).astype(np.float32), rng.normal(size=(17, 24)).astype(np.float32)
    search, faiss = CudaSearch(torch.device("cpu")), NearestCentre(24)
    search.place(centres)
    faiss.place(centres)
    labels, squared = search.find(points)
    expected, distances = faiss.find(points)
    assert np.array_equal(labels, expected)
    np.testing.assert_allclose(squared, distances, rtol=1e-4, atol=1e-4)


def test_of_equally_near_centres_it_takes_the_first_and_marks_what_is_no_number() -> None:
    search = CudaSearch(torch.device("cpu"))
    search.place(np.array([[5, 5], [1, 0], [1, 0]], np.float32))
    labels, _ = search.find(np.array([[1, 0], [np.nan, 0], [6, 6]], np.float32))
    assert labels.tolist() == [1, -1, 0]
