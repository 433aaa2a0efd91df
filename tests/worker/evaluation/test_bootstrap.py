import pytest
import torch

from worker.evaluation.bootstrap import bootstrap_weights, percentile_interval


def test_every_sample_holds_as_many_images_as_there_are() -> None:
    weights = bootstrap_weights(30, seed=0, resamples=50)
    assert weights.shape == (50, 30)
    assert (weights.sum(1) == 30).all()
    assert (weights == weights.round()).all()


def test_about_a_share_of_one_over_e_is_left_out() -> None:
    weights = bootstrap_weights(1000, seed=0)
    assert float((weights == 0).double().mean()) == pytest.approx(0.3679, abs=0.005)


def test_the_seed_decides() -> None:
    first, again, other = (bootstrap_weights(20, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_interval_of_a_mean_is_the_normal_one_for_many_images() -> None:
    right = torch.rand(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) < 0.7
    weights = bootstrap_weights(2000, seed=0, resamples=2000)
    low, high = percentile_interval(weights @ right.double() / 2000, 0.95)
    share = float(right.double().mean())
    half = 1.96 * (share * (1 - share) / 2000) ** 0.5
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.002)


def test_values_that_are_no_numbers_are_left_out() -> None:
    values = torch.tensor([0.1, torch.nan, 0.2, 0.3, torch.nan])
    assert percentile_interval(values, 0.9) == pytest.approx((0.11, 0.29))


def test_samples_on_one_side_are_moved_to_what_was_measured() -> None:
    values = torch.linspace(0.5, 0.7, 101)
    low, high = percentile_interval(values, 0.9, around=0.4)
    assert (low, high) == pytest.approx((0.31, 0.49))


def test_an_interval_of_shares_stays_between_0_and_1() -> None:
    assert percentile_interval(torch.tensor([0.9, 1.0, 1.0]), 0.95, around=1.0)[1] == 1
