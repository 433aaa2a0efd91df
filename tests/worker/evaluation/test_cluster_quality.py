import numpy as np
import pytest

from worker.config.probe import ClusterProtocol
from worker.evaluation.agreement import Agreement
from worker.evaluation.cluster_quality import AGAINST_LABELS, cells_of, statistic_cell

LABELS = np.arange(200) % 4
PROTOCOL = ClusterProtocol(k=4, seeds=(0, 1))


def test_clusters_that_are_the_classes_score_one_with_no_width() -> None:
    cells = cells_of([LABELS, 3 - LABELS], LABELS, PROTOCOL)
    for metric in ("NMI", "ARI", "purity", "ARI between seeds"):
        assert cells[metric].value == pytest.approx(1)
        assert cells[metric].low == pytest.approx(1)
    assert cells["NMI"].per_seed == {"0": pytest.approx(1), "1": pytest.approx(1)}
    assert cells["entropy"].value == pytest.approx(1)
    assert cells["tiny share"].value == cells["giant share"].value == 0


def test_one_seed_has_nothing_to_agree_with() -> None:
    cells = cells_of([LABELS], LABELS, PROTOCOL.model_copy(update={"seeds": (0,)}))
    assert "ARI between seeds" not in cells


def test_tiny_and_giant_clusters_are_counted() -> None:
    clusters = np.concatenate([np.zeros(960, np.int64), 1 + np.arange(40) % 20])
    cells = cells_of([clusters], np.arange(1000) % 2, PROTOCOL.model_copy(update={"seeds": (0,)}))
    assert cells["giant share"].value == pytest.approx(0.96)
    assert cells["tiny share"].value == pytest.approx(20 / 21)
    assert cells["entropy"].value < 0.2


def test_the_interval_is_as_wide_as_the_statistic_varies_over_images() -> None:
    """Purity of two clusters of one class each, mixed at random, is a share: its interval is known."""
    mixed = (np.random.default_rng(0).random(400) < 0.2).astype(np.int64)
    truth = np.zeros(400, np.int64)
    share = statistic_cell([Agreement.of(truth, mixed)], AGAINST_LABELS["purity"], (0,), 0.95)
    half = 1.96 * (share.value * (1 - share.value) / 400) ** 0.5
    assert share.high - share.value == pytest.approx(half, rel=0.15)
    assert share.value - share.low == pytest.approx(half, rel=0.15)
