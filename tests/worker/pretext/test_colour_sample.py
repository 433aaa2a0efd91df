"""Counts of colours, against going through all places one by one."""

import math

import numpy as np
import pytest
import torch

from worker.pretext.ab_bins import entropy
from worker.pretext.colour_sample import ColourSample, coloured, tell_of_grey

BINS = 6


def _drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bins and shares of 4 images with 3 x 2 places, and colours of which the last image's are grey."""
    generator = torch.Generator().manual_seed(0)
    bins = torch.rand(4, BINS, 3, 2, generator=generator).argsort(1)[:, :2]
    shares = torch.rand(4, 2, 3, 2, generator=generator)
    ab = torch.rand(4, 2, 3, 2, generator=generator) * 10 + 10
    ab[3] /= 100
    return bins, shares / shares.sum(1, keepdim=True), ab


def _sample() -> ColourSample:
    sample = ColourSample(BINS)
    bins, shares, ab = _drawn()
    sample.add(bins[:2], shares[:2], ab[:2])
    sample.add(bins[2:], shares[2:], ab[2:])
    return sample


def _places() -> list[np.ndarray]:
    """The distribution over the bins at each place of the three coloured images, and its nearest bin."""
    bins, shares, _ = _drawn()
    places = []
    for image in range(3):
        for row, column in np.ndindex(3, 2):
            spread = np.zeros(BINS)
            spread[bins[image, :, row, column]] = shares[image, :, row, column]
            places.append(np.append(spread, float(bins[image, 0, row, column])))
    return places


def test_an_image_with_one_colour_is_not_grey() -> None:
    ab = torch.zeros(3, 2, 4, 4)
    ab[1, 1, 2, 3] = -6
    ab[2] = 4
    assert coloured(ab).tolist() == [False, True, False]


def test_the_prior_is_the_mean_of_the_coloured_images_places() -> None:
    prior = np.mean([place[:-1] for place in _places()], axis=0)
    unscaled = 1 / (0.5 * prior + 0.5 / BINS)
    np.testing.assert_allclose(_sample().weights(0.5), unscaled / (unscaled * prior).sum(), rtol=1e-5)


def test_the_best_guess_is_the_best_constant_answer() -> None:
    sample = _sample()
    weights = sample.weights(0.5)
    places = _places()
    each = [float(weights[int(place[-1])]) for place in places]

    def loss(answer: np.ndarray) -> float:
        told = [weight * -(place[:-1] * np.log(answer)).sum() for weight, place in zip(each, places, strict=True)]
        return sum(told) / sum(each)

    best = np.average([place[:-1] for place in places], axis=0, weights=each)
    np.testing.assert_allclose(sample.best_guess(weights), best, rtol=1e-5)
    assert float(entropy(sample.best_guess(weights))) == pytest.approx(loss(best), rel=1e-4)
    for other in np.random.default_rng(0).dirichlet(np.ones(BINS) * 5, 20):
        assert loss(other) > loss(best)


def test_the_floor_is_the_loss_of_a_perfect_answer() -> None:
    sample = _sample()
    weights = sample.weights(0.5)
    told = [(float(weights[int(place[-1])]), place[:-1][place[:-1] > 0]) for place in _places()]
    expected = sum(weight * -(spread * np.log(spread)).sum() for weight, spread in told)
    assert sample.floor(weights) == pytest.approx(expected / sum(weight for weight, _ in told), rel=1e-4)


def test_grey_images_are_counted_and_told_of() -> None:
    sample = _sample()
    assert (sample.images, sample.grey, sample.is_grey) == (4, 1, False)
    assert tell_of_grey(1, 4) == ("1 of 4 sampled images are grey.", False)
    assert tell_of_grey(3, 4) == ("3 of 4 sampled images are grey: they teach nothing about colour.", True)
    message, alarming = tell_of_grey(4, 4)
    assert alarming
    assert "no colour to learn" in message


def test_without_colour_all_bins_weigh_alike() -> None:
    sample = ColourSample(BINS)
    bins, shares, ab = _drawn()
    sample.add(bins, shares, ab * 0)
    assert sample.is_grey
    assert sample.weights(0.5).tolist() == [1.0] * BINS


def test_one_colour_leaves_nothing_to_guess() -> None:
    sample = ColourSample(BINS)
    sample.add(torch.zeros(2, 1, 3, 3, dtype=torch.int64), torch.ones(2, 1, 3, 3), torch.full((2, 2, 3, 3), 9.0))
    assert sample.best_guess(sample.weights(0.5)).tolist() == [1.0] + [0.0] * (BINS - 1)
    assert math.isfinite(sample.floor(sample.weights(0.5)))
