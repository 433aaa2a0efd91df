from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.clustering import words
from worker.clustering.words import Codebook, learn_codebook, parts_of
from worker.config.reasons import Reason
from worker.stages.contract import StageError

CPU = torch.device("cpu")


def no_one(iteration: int, inertia: float) -> None:
    """Hears of an iteration."""


def test_a_word_is_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    book, descriptors = generator.normal(size=(7, 5)), generator.normal(size=(40, 5))
    direct = ((descriptors[:, None] - book[None]) ** 2).sum(2).argmin(1)
    codebook = Codebook(book.astype(np.float32), CPU)
    found = torch.from_numpy(descriptors.astype(np.float32))
    assert codebook.nearest(found).tolist() == direct.tolist()
    monkeypatch.setattr(words, "COMPARED", 7 * 3)
    assert codebook.nearest(found).tolist() == direct.tolist()


def test_a_bag_counts_the_words_of_each_part() -> None:
    """By hand: a 2 x 3 grid of words, whole and in quarters; the right quarters hold the grid's last column alone."""
    codebook = Codebook(np.array([[0.0], [10.0], [20.0]], np.float32), CPU)
    grid = torch.tensor([[0, 10, 20], [20, 20, 1]]).float().reshape(1, 2, 3, 1)
    (bag,) = codebook.bags(grid, (1, 2))
    counts = torch.tensor([[2, 1, 3], [1, 1, 0], [0, 0, 1], [0, 0, 2], [1, 0, 0]]).float().flatten()
    torch.testing.assert_close(bag, counts.sqrt() / (2 * 6) ** 0.5)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
def test_every_level_counts_every_descriptor_once(rows: int, columns: int, level: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codebook = Codebook(np.eye(4, dtype=np.float32), CPU)
    descriptors = torch.rand(2, rows, columns, 4, generator=generator)
    bags = codebook.bags(descriptors, (level,)).square() * rows * columns
    whole = bags.view(2, level**2, 4).sum(1)
    for image, counts in zip(descriptors, whole, strict=True):
        slow = Counter(image.reshape(-1, 4).argmax(1).tolist())
        torch.testing.assert_close(counts, torch.tensor([float(slow[word]) for word in range(4)]), atol=1e-3, rtol=0)


def test_parts_lie_row_by_row() -> None:
    assert parts_of(2, 4, 2).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_blobs_become_words() -> None:
    generator = np.random.default_rng(0)
    centres = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    descriptors = np.repeat(centres, 50, axis=0) + generator.normal(0, 0.1, (150, 2)).astype(np.float32)
    found = min(
        (learn_codebook(descriptors, 3, 20, np.random.default_rng(n), "cpu", no_one) for n in range(5)),
        key=lambda book: float(np.abs(np.sort(book, axis=0) - np.sort(centres, axis=0)).max()),
    )
    np.testing.assert_allclose(found[np.lexsort(found.T.round())], centres[np.lexsort(centres.T)], atol=0.1)


def test_more_words_than_different_descriptors_are_refused() -> None:
    with pytest.raises(StageError, match=r"codebook of 3 words .* choose fewer `words`") as caught:
        learn_codebook(np.zeros((9, 2), np.float32), 3, 5, np.random.default_rng(0), "cpu", no_one)
    assert caught.value.reason is Reason.k_too_large
