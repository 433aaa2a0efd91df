import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from worker.config.reasons import Reason
from worker.stages.contract import StageError
from worker.stages.pseudo_labels import PseudoLabels, balanced_order, read_labels, split_images


def _written(folder: Path, values: ArrayLike, k: int) -> Path:
    np.save(folder / "labels.npy", np.asarray(values))
    (folder / "labels.json").write_text(json.dumps({"k": k}))
    return folder


def test_labels_are_read_with_the_number_of_clusters(tmp_path: Path) -> None:
    labels = read_labels(_written(tmp_path, np.array([0, 2, -1, 2], np.int32), 5), 4)
    assert labels.values.tolist() == [0, 2, -1, 2]
    assert labels.classes == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, 0], "3 pseudo-labels for 4 images"),
        ([0, 1, 2, 3], "from -1 to 2"),
        ([0, 1, -2, 0], "from -1 to 2"),
        ([0.0, 1.0, 0.0, 1.0], "whole numbers"),
        ([1, 1, -1, 1], "fewer than two clusters"),
        ([-1, -1, -1, -1], "fewer than two clusters"),
    ],
)
def test_labels_that_fit_not_are_refused(tmp_path: Path, values: ArrayLike, message: str) -> None:
    with pytest.raises(StageError, match=message) as caught:
        read_labels(_written(tmp_path, values, 3), 4)
    assert caught.value.reason is Reason.bad_labels


def test_unreadable_labels_are_said_to_be_broken(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        read_labels(tmp_path, 4)
    assert caught.value.reason is Reason.artifact_corrupt


def test_the_split_holds_every_labelled_image_once_in_the_share_asked_for() -> None:
    labels = PseudoLabels(np.where(np.arange(2000) % 10 == 0, -1, 1), 2)
    split = split_images(labels, [f"{n}.png" for n in range(2000)], 0.2, seed=0)
    assert (
        np.sort(np.concatenate([split.trained, split.held_out])).tolist() == np.flatnonzero(labels.values >= 0).tolist()
    )
    assert 0.16 < len(split.held_out) / 1800 < 0.24


def test_an_image_stays_on_its_side_when_others_come() -> None:
    few, many = (
        split_images(PseudoLabels(np.zeros(n, np.int64), 2), [f"{i}.png" for i in range(n)], 0.3, seed=4)
        for n in (100, 300)
    )
    assert few.held_out.tolist() == [index for index in many.held_out if index < 100]


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=60), seed=st.integers(0, 1000))
def test_a_balanced_order_draws_every_cluster_equally(labels: list[int], seed: int) -> None:
    values = np.array(labels, dtype=np.int64)
    images = np.arange(len(values)) + 100
    order = balanced_order(images, values, np.random.default_rng(seed))
    assert len(order) == len(images)
    drawn = np.bincount(values[order - 100], minlength=6)[np.unique(values)]
    each = -(-len(images) // len(drawn))
    assert drawn.max() <= each
    assert drawn.sum() == len(images)


def test_a_balanced_order_evens_out_a_rare_cluster() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    order = balanced_order(np.arange(100), labels, np.random.default_rng(0))
    assert np.bincount(labels[order]).tolist() == [50, 50]
    assert np.bincount(order[order >= 90] - 90).tolist() == [5] * 10
    assert len(set(order[order < 90].tolist())) == 50
