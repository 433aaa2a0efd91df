import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from worker.evaluation.features import Features, ResidentFeatures
from worker.evaluation.probe import (
    largest_eigenvalue,
    standardised,
    standardised_in_place,
    statistics,
    train_probes,
)
from worker.stages.randomness import torch_generator


def blobs(count: int, apart: float, dim: int = 20, classes: int = 4) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, count)
    middles = np.random.default_rng(1).normal(0, apart, (classes, dim))
    values = middles[labels] + rng.normal(0, 1, (count, dim))
    return torch.tensor(values, dtype=torch.float32), torch.tensor(labels)


def predicted(features: Features, rows: Tensor, labels: Tensor, judged: Tensor, epochs: int = 30) -> Tensor:
    return train_probes(features, rows, labels[rows], 4, epochs, (0,)).scores(features, judged)[0].argmax(1)


@pytest.mark.parametrize("apart", [0.3, 0.6, 2.0])
def test_is_about_as_good_as_sklearn_s_logistic_regression(apart: float) -> None:
    values, labels = blobs(1200, apart)
    train, judged = torch.arange(900), torch.arange(900, 1200)
    features = standardised(ResidentFeatures(values), train)
    ours = (predicted(features, train, labels, judged) == labels[judged]).double().mean().item()
    seen = features.take(torch.arange(1200))
    theirs = LogisticRegression(max_iter=500).fit(seen[train], labels[train]).score(seen[judged], labels[judged])
    assert ours >= theirs - 0.02


def test_correlated_columns_of_any_scale_train_too() -> None:
    values, labels = blobs(800, 1.5)
    mixed = torch.cat([values @ torch.randn(20, 300, generator=torch.Generator().manual_seed(0)), values * 1e-6], dim=1)
    everything = torch.arange(800)
    features = standardised(ResidentFeatures(mixed + 100), everything)
    assert (predicted(features, everything, labels, everything) == labels).double().mean() > 0.95


def plain_probe(values: Tensor, labels: Tensor, epochs: int, seed: int) -> torch.nn.Linear:
    """The same training, by autograd and torch's own optimizer; biases learn twice as fast and don't decay."""
    probe = torch.nn.Linear(values.shape[1], 4)
    torch.nn.init.zeros_(probe.weight)
    torch.nn.init.zeros_(probe.bias)
    rate = 1 / (1 + largest_eigenvalue(ResidentFeatures(values), torch.arange(len(values))))
    groups = [
        {"params": [probe.weight], "weight_decay": 5e-4},
        {"params": [probe.bias], "lr": 2 * rate, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True)
    batch = len(values) // 8
    total = epochs * math.ceil(len(values) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / total)) / 2)
    for epoch in range(epochs):
        order = torch.randperm(len(values), generator=torch_generator(seed, "probe", epoch))
        for rows in torch.split(order, batch):
            optimizer.zero_grad()
            functional.cross_entropy(probe(values[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return probe


def test_probes_side_by_side_are_those_that_torch_would_train_one_by_one() -> None:
    values, labels = blobs(203, 1.0)
    rows = torch.arange(203)
    features = standardised(ResidentFeatures(values), rows)
    together = train_probes(features, rows, labels, 4, 4, (0, 1, 7))
    for position, seed in enumerate((0, 1, 7)):
        alone = plain_probe(features.take(rows), labels, 4, seed)
        torch.testing.assert_close(together.weight[position], alone.weight, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.bias[position, 0], alone.bias, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_probe_and_another_seed_another() -> None:
    values, labels = blobs(200, 1.0)
    features, rows = ResidentFeatures(values), torch.arange(200)
    first, again, other = (train_probes(features, rows, labels, 4, 3, (seed,)).weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rows_that_don_t_teach_play_no_part() -> None:
    values, labels = blobs(200, 1.0)
    rows = torch.arange(0, 200, 2)
    spoilt = values.clone()
    spoilt[1::2] = float("nan")
    probes = [
        train_probes(standardised(ResidentFeatures(each), rows), rows, labels[rows], 4, 2, (0,)).weight
        for each in (values, spoilt)
    ]
    assert torch.equal(*probes)


def test_standardises_by_the_training_rows_alone_without_affine_values() -> None:
    values = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 7 + 3
    values[:, 2] = 5
    train = torch.arange(30)
    expected = torch.nn.BatchNorm1d(6, eps=1e-12, affine=False, momentum=None)
    expected(values[train])
    direct = expected.eval()(values)
    result = standardised(ResidentFeatures(values), train).take(torch.arange(50))
    np.testing.assert_allclose(result[train].mean(0), 0, atol=1e-5)
    np.testing.assert_array_equal(result[:, 2], 0)
    biased = (30 / 29) ** 0.5  # the running variance of a batch norm divides by n - 1
    keep = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(result[:, keep], direct[:, keep] * biased, rtol=1e-4, atol=1e-5)
    in_place = standardised_in_place(ResidentFeatures(values), train)
    assert torch.equal(in_place.take(torch.arange(50)), result)


def test_statistics_of_chunks_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.evaluation.features.CHUNK", 7)
    values = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-6, 1, 5, 100, 1]) + 1000
    mean, scale = statistics(ResidentFeatures(values), torch.arange(60))
    torch.testing.assert_close(mean, values.double().mean(0).float())
    varying = [1, 2, 3, 4]
    torch.testing.assert_close(
        scale[varying], 1 / values.double().std(0, correction=0)[varying].float(), rtol=1e-3, atol=0
    )


def test_the_largest_eigenvalue_is_the_covariance_s() -> None:
    values = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1, 1, 1, 0.1])
    direct = torch.linalg.eigvalsh(values.T @ values / 400).max().item()
    assert largest_eigenvalue(ResidentFeatures(values), torch.arange(400)) == pytest.approx(direct, rel=0.01)
