import hashlib

import numpy as np

from worker.evaluation.split import split_labelled

PATHS = [f"folder/{index}.jpg" for index in range(1000)]
LABELS = np.arange(1000) % 5


def test_holds_out_by_the_md5_of_the_path() -> None:
    split = split_labelled(PATHS, LABELS, 0.2, None, seed=0)
    shares = [int(hashlib.md5(PATHS[index].encode()).hexdigest(), 16) / 2**128 for index in split.images]
    assert split.held_out.tolist() == [share < 0.2 for share in shares]
    assert 150 < split.held_out.sum() < 250
    np.testing.assert_array_equal(split.labels, LABELS)


def test_the_rule_of_ten_holds_out_what_ten_divides_whatever_the_share() -> None:
    split = split_labelled(PATHS, LABELS, 0.9, None, seed=0, rule="md5-mod-10")
    expected = [int(hashlib.md5(PATHS[index].encode()).hexdigest(), 16) % 10 == 0 for index in split.images]
    assert split.held_out.tolist() == expected
    np.testing.assert_array_equal(split.judged, split.images[expected])


def test_an_image_stays_on_its_side_when_others_go() -> None:
    whole = split_labelled(PATHS, LABELS, 0.2, None, seed=0)
    part = split_labelled(PATHS, np.where(np.arange(1000) < 300, LABELS, -1), 0.2, None, seed=0)
    np.testing.assert_array_equal(part.held_out, whole.held_out[:300])


def test_fewer_images_are_drawn_by_seed() -> None:
    first, again, other = (split_labelled(PATHS, LABELS, 0.2, 100, seed).images for seed in (0, 0, 1))
    assert len(first) == 100
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_images_without_a_label_take_no_part() -> None:
    split = split_labelled(PATHS, np.where(LABELS == 3, -1, LABELS), 0.2, None, seed=0)
    assert split.classes == [0, 1, 2, 4]
    assert not set(np.flatnonzero(LABELS == 3)) & set(split.images)
    assert set(split.labels) == {0, 1, 2, 3}


def test_classes_with_too_few_images_are_counted_and_dropped() -> None:
    labels = LABELS.copy()
    labels[:2] = [7, 8]
    split = split_labelled(PATHS, labels, 0.2, None, seed=0)
    assert split.dropped == {7: 1, 8: 1}
    assert split.classes == [0, 1, 2, 3, 4]
    assert split.usable


def test_nothing_to_compare_without_two_classes() -> None:
    assert not split_labelled(PATHS, np.full(1000, -1), 0.2, None, seed=0).usable
    assert not split_labelled(PATHS, np.zeros(1000, np.int64), 0.2, None, seed=0).usable
