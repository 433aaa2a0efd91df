import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from worker.evaluation.probe import largest_eigenvalue, probe_predictions, standardise, train_probe


def blobs(count: int, apart: float, dim: int = 20, classes: int = 4) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, count)
    middles = np.random.default_rng(1).normal(0, apart, (classes, dim))
    values = middles[labels] + rng.normal(0, 1, (count, dim))
    return torch.tensor(values, dtype=torch.float32), torch.tensor(labels)


@pytest.mark.parametrize("apart", [0.3, 0.6, 2.0])
def test_is_about_as_good_as_sklearn_s_logistic_regression(apart: float) -> None:
    values, labels = blobs(1200, apart)
    train = torch.arange(1200) < 900
    values = standardise(values, train)
    probe = train_probe(values[train], labels[train], 4, 30, seed=0)
    ours = (probe_predictions(probe, values[~train]) == labels[~train]).double().mean().item()
    theirs = LogisticRegression(max_iter=500).fit(values[train], labels[train]).score(values[~train], labels[~train])
    assert ours >= theirs - 0.02


def test_correlated_columns_of_any_scale_train_too() -> None:
    values, labels = blobs(800, 1.5)
    mixed = torch.cat([values @ torch.randn(20, 300, generator=torch.Generator().manual_seed(0)), values * 1e-6], dim=1)
    mixed += 100
    everything = torch.ones(800, dtype=torch.bool)
    probe = train_probe(standardise(mixed, everything), labels, 4, 30, seed=0)
    assert (probe_predictions(probe, mixed) == labels).double().mean() > 0.95


def test_the_same_seed_gives_the_same_probe_and_another_seed_another() -> None:
    values, labels = blobs(200, 1.0)
    first, again, other = (train_probe(values, labels, 4, 3, seed).weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_standardises_by_the_training_rows_alone_without_affine_values() -> None:
    values = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 7 + 3
    values[:, 2] = 5
    train = torch.arange(50) < 30
    expected = torch.nn.BatchNorm1d(6, eps=1e-12, affine=False, momentum=None)
    expected(values[train])
    direct = expected.eval()(values)
    result = standardise(values, train)
    np.testing.assert_allclose(result[train].mean(0), 0, atol=1e-5)
    np.testing.assert_array_equal(result[:, 2], 0)
    biased = (30 / 29) ** 0.5  # the running variance of a batch norm divides by n - 1
    keep = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(result[:, keep], direct[:, keep] * biased, rtol=1e-4, atol=1e-5)


def test_the_largest_eigenvalue_is_the_covariance_s() -> None:
    values = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1, 1, 1, 0.1])
    direct = torch.linalg.eigvalsh(values.T @ values / 400).max().item()
    assert largest_eigenvalue(values) == pytest.approx(direct, rel=0.01)
