"""The bins of the ab plane, against looking at every colour and at every bin."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from worker.pretext.ab_bins import AbBins, ab_centres, entropy, rebalancing

BINS = AbBins.of_srgb()


def test_there_are_as_many_bins_as_published() -> None:
    centres = ab_centres()
    assert centres.shape == (313, 2)
    assert len(np.unique(centres.numpy(), axis=0)) == 313
    assert (centres % 10 == 0).all()


def test_every_colours_cell_is_bounded_by_bins() -> None:
    """The four nodes around each of 35,937 colours, found by rounding down and up."""
    levels = np.linspace(0, 1, 33)
    ab = rgb2lab(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3))[0, :, 1:]
    bins = {(int(a), int(b)) for a, b in ab_centres().tolist()}
    around = {
        (int(10 * a_round(a / 10)), int(10 * b_round(b / 10)))
        for a_round in (math.floor, math.ceil)
        for b_round in (math.floor, math.ceil)
        for a, b in ab
    }
    assert around <= bins
    assert len(bins - around) < 10


def _by_all_distances(a: float, b: float) -> list[tuple[float, int]]:
    """All bins with their distance, nearest first."""
    return sorted(
        (math.hypot(a - centre_a, b - centre_b), number)
        for number, (centre_a, centre_b) in enumerate(BINS.centres.tolist())
    )


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_a_colour_is_spread_over_its_five_nearest_bins(rgb: tuple[float, float, float]) -> None:
    a, b = rgb2lab(np.array([[rgb]]))[0, 0, 1:].tolist()
    nearest = _by_all_distances(a, b)[:5]
    gaussian = [math.exp(-(distance**2) / (2 * 5.0**2)) for distance, _ in nearest]
    bins, shares = BINS.soft(torch.tensor([a, b]).view(1, 2, 1, 1))
    found = [math.dist((a, b), BINS.centres[number].tolist()) for number in bins.flatten().tolist()]
    # Bins that are equally near may stand for each other, so distances are compared rather than bins.
    np.testing.assert_allclose(found, [distance for distance, _ in nearest], atol=1e-3)
    np.testing.assert_allclose(shares.flatten().numpy(), np.array(gaussian) / sum(gaussian), atol=1e-3)


def test_places_keep_their_places() -> None:
    ab = torch.rand(2, 2, 3, 4, generator=torch.Generator().manual_seed(0)) * 40
    bins, shares = BINS.soft(ab)
    alone, alone_shares = BINS.soft(ab[1:, :, 2:, 3:])
    assert torch.equal(bins[1:, :, 2:, 3:], alone)
    assert torch.equal(shares[1:, :, 2:, 3:], alone_shares)


def test_rare_bins_weigh_more_and_the_mean_weight_is_one() -> None:
    prior = torch.tensor([0.7, 0.2, 0.1, 0.0])
    weights = rebalancing(prior, uniform=0.5)
    unscaled = [1 / (0.5 * share + 0.5 * 0.25) for share in prior.tolist()]
    expected = np.array(unscaled) / np.dot(unscaled, prior.numpy())
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-5)
    assert float((weights * prior).sum()) == pytest.approx(1)
    torch.testing.assert_close(rebalancing(prior, uniform=1.0), torch.ones(4))


def test_entropy_is_in_nats() -> None:
    assert float(entropy(torch.full((8,), 1 / 8))) == pytest.approx(math.log(8))
    assert float(entropy(torch.tensor([1.0, 0.0]))) == 0
