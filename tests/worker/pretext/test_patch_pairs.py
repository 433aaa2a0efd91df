"""The batched pairs of patches against a slow, readable maker of one patch."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from worker.config.pretext.context import ContextConfig
from worker.pretext.patch_pairs import DIRECTIONS, NAMES, PairMaker, PairPlan
from worker.pretext.puzzles import colour_projection
from worker.stages.randomness import torch_generator

SIDE = 48
SIZES: dict[str, object] = {"side": SIDE, "crop": 40, "patch": 12, "gap": 5, "jitter": 2, "coarsest": 3}


def _config(**changes: object) -> ContextConfig:
    return ContextConfig.model_validate(SIZES | changes)


def _images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch_generator(0, "images"))


def _plan(config: ContextConfig, count: int = 6) -> PairPlan:
    return PairMaker(config).plan(count, torch_generator(3, "pairs"))


def _slow_patch(image: NDArray[np.uint8], plan: PairPlan, number: int, colour: str) -> NDArray[np.float64]:
    top, left = plan.corners[number].tolist()
    patch = image[:, top : top + 12, left : left + 12].astype(np.float64)
    if colour == "projection":
        return np.tensordot(colour_projection().numpy(), patch, axes=1)
    if colour == "drop":
        kept = int(plan.kept[number])
        for channel in range(3):
            if channel != kept:
                noise = plan.noise[channel].numpy() * 0.01 * patch[kept].std()
                patch[channel] = patch[kept].mean() + noise
    return patch


@pytest.mark.parametrize("colour", ["drop", "projection", "keep"])
@pytest.mark.parametrize("pairs_per_image", [1, 3])
def test_a_batch_equals_patches_made_one_by_one(colour: str, pairs_per_image: int) -> None:
    config = _config(colour=colour, pairs_per_image=pairs_per_image, coarse=0.0)
    images, plan = _images(6), _plan(config)
    patches = PairMaker(config).seen(images, plan)
    assert patches.shape == (2 * 6 * pairs_per_image, 3, 12, 12)
    for number, patch in enumerate(patches):
        image = images[number // (2 * pairs_per_image)].numpy()
        np.testing.assert_allclose(patch, _slow_patch(image, plan, number, colour), atol=1e-3)


def test_the_label_tells_where_the_second_patch_lies() -> None:
    plan = _plan(_config(jitter=0), count=100)
    first, second = plan.corners.view(-1, 2, 2).unbind(1)
    for label, (down, right) in zip(plan.labels.tolist(), (second - first).tolist(), strict=True):
        words = NAMES[label]
        assert down == {True: -17, False: 17 if "below" in words else 0}["above" in words]
        assert right == {True: -17, False: 17 if "right" in words else 0}["left" in words]


def test_both_patches_lie_anywhere_in_the_image_with_a_gap_between_them() -> None:
    plan = _plan(_config(), count=2000)
    assert int(plan.corners.min()) == 0
    assert int(plan.corners.max()) == SIDE - 12
    first, second = plan.corners.view(-1, 2, 2).unbind(1)
    away = (second - first).abs().amax(1)
    assert int(away.min()) == 12 + 5 - 2 * 2
    assert int(away.max()) == 12 + 5 + 2 * 2


def test_all_eight_directions_are_drawn_alike() -> None:
    counts = torch.bincount(_plan(_config(), count=4000).labels, minlength=8)
    assert len(DIRECTIONS) == len(NAMES) == len(counts) == 8
    assert (counts / 4000 - 1 / 8).abs().max() < 0.025


def test_a_share_of_the_patches_is_coarse() -> None:
    config = _config(colour="keep", coarse=0.25)
    images, plan = _images(6), _plan(config)
    sharp = PairMaker(_config(colour="keep", coarse=0.0)).seen(images, plan)
    assert len(plan.coarse) == 3
    assert 3 <= plan.coarse_side <= 12
    coarse = PairMaker(config).seen(images, plan)
    changed = (coarse != sharp).flatten(1).any(1)
    assert set(changed.nonzero().flatten().tolist()) <= set(plan.coarse.tolist())


def test_a_coarse_patch_has_lost_what_is_fine_and_kept_what_is_broad() -> None:
    config = _config(colour="keep", coarse=1.0, coarsest=3)
    plan = _plan(config, count=1)
    plan = PairPlan(plan.labels, plan.source, plan.corners, plan.kept, plan.coarse, 3, plan.noise)
    fine = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    fine[..., ::2] = 200
    assert float((PairMaker(config).seen(fine, plan) - 100).abs().max()) < 1e-3


@pytest.mark.parametrize("colour", ["drop", "projection"])
def test_patches_are_standardised(colour: str) -> None:
    config = _config(colour=colour)
    patches = PairMaker(config).make(_images(6), _plan(config))
    assert patches.is_contiguous(memory_format=torch.channels_last)
    assert patches.mean((1, 2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(patches.std((1, 2, 3), correction=0), torch.ones(12))


def test_the_generator_alone_decides_the_pairs() -> None:
    config = _config()
    maker, images = PairMaker(config), _images(6)
    assert torch.equal(maker.make(images, _plan(config)), maker.make(images, _plan(config)))
    other = maker.plan(6, torch_generator(3, "pairs", 1))
    assert not torch.equal(maker.make(images, _plan(config)), maker.make(images, other))


@pytest.mark.parametrize("side", [36, 48, 96, 100, 160, 256])
def test_auto_sizes_fit(side: int) -> None:
    config = ContextConfig().resolved(side)
    assert 2 * int(config.patch) + int(config.gap) + 2 * int(config.jitter) <= side
    PairMaker(config).make(torch.zeros(2, 3, side, side, dtype=torch.uint8), _plan(config, 2))


def test_the_sizes_of_a_large_image() -> None:
    config = ContextConfig().resolved(256)
    assert (config.crop, config.patch, config.gap, config.jitter, config.coarsest) == (227, 80, 40, 6, 8)


def test_patches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="must fit into 48 px"):
        _config(patch=22)
    with pytest.raises(ValidationError, match="coarsest"):
        _config(coarsest=13)
