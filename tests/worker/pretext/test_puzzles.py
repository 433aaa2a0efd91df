"""The batched puzzles against a slow, readable puzzle maker for one image, and their statistics."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from worker.config.pretext.jigsaw import JigsawPlusConfig
from worker.pretext.permutations import make_permutations
from worker.pretext.puzzles import Colour, JigsawMaker, PuzzleBatch, PuzzlePlan, colour_projection, standardised
from worker.stages.randomness import torch_generator

SIDE = 64
SIZES: dict[str, object] = {"side": SIDE, "crop": 60, "tile": 14, "jitter": 4, "channel_jitter": 2}
SMALL = {"permutations": 30, "min_hamming": 5}


def _config(**changes: object) -> JigsawPlusConfig:
    return JigsawPlusConfig.model_validate(SIZES | SMALL | changes)


def _table(config: JigsawPlusConfig) -> torch.Tensor:
    return torch.from_numpy(make_permutations(config.permutations, config.min_hamming).table)


def _maker(config: JigsawPlusConfig, puzzles_per_image: int = 1) -> JigsawMaker:
    return JigsawMaker(config.model_copy(update={"puzzles_per_image": puzzles_per_image}), _table(config))


def _images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch_generator(0, "images"))


def _make(config: JigsawPlusConfig, count: int = 6, puzzles_per_image: int = 1) -> PuzzleBatch:
    return _maker(config, puzzles_per_image).make(_images(count), torch_generator(3, "puzzles"))


def _slow_tile(image: NDArray[np.uint8], plan: PuzzlePlan, image_index: int, tile_index: int) -> NDArray[np.float64]:
    """One tile, 0..255, as the method's description goes: mirror, crop, colour, cell, offset per channel."""
    source = int(plan.source[image_index, tile_index])
    pixels = image.astype(np.float64)
    if plan.mirrored[source]:
        pixels = pixels[:, :, ::-1]
    pixels = _slow_crop(pixels, plan.crop[source].tolist(), float(plan.shown[source]))
    colour = Colour(int(plan.colour[image_index, tile_index]))
    if colour is Colour.grey:
        pixels = np.repeat(pixels.mean(axis=0, keepdims=True), 3, axis=0)
    if colour is Colour.projected:
        axis = np.array([[-1.0, 2.0, -1.0]])
        pixels = np.tensordot(np.eye(3) - axis.T @ axis / (axis @ axis.T), pixels, axes=1)
    row, column = divmod(int(plan.cell[image_index, tile_index]), 3)
    tile = np.empty((3, 14, 14))
    for channel in range(3):
        down, right = plan.offset[image_index, tile_index, channel].tolist()
        y, x = 20 * row + down, 20 * column + right
        tile[channel] = pixels[channel, y : y + 14, x : x + 14]
    return tile


def _slow_crop(pixels: NDArray[np.float64], corner: list[float], shown: float) -> NDArray[np.float64]:
    """A square of `shown` pixels as one of 60: each value lies between the four nearest, the edge goes on outwards."""
    places = (np.arange(60) + 0.5) * shown / 60 - 0.5
    down, right = (_between(np.clip(start + places, 0, SIDE - 1)) for start in corner)
    return down @ pixels @ right.T


def _between(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(60, SIDE): how much each pixel adds to the value at each place."""
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(SIDE)))


@pytest.mark.parametrize("puzzles_per_image", [1, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"random_crop": True, "flip": True},
        {"random_crop": True, "min_scale": 0.4, "flip": True},
        {"min_scale": 0.4},
        {"grey": 0.3, "projection": 0.4, "occluder_colour": "independent"},
        {"occluders": 0, "grey": 0.0},
    ],
)
def test_a_batch_equals_puzzles_made_one_by_one(changes: dict[str, object], puzzles_per_image: int) -> None:
    images = _images(6)
    maker = _maker(_config(**changes), puzzles_per_image)
    plan = maker.plan(6, torch_generator(3, "puzzles"))
    tiles = maker.cut(images, plan).view(6, -1, 3, 14, 14)
    for image_index in range(6):
        for tile_index in range(tiles.shape[1]):
            source = int(plan.source[image_index, tile_index])
            expected = _slow_tile(images[source].numpy(), plan, image_index, tile_index)
            np.testing.assert_allclose(tiles[image_index, tile_index], expected, atol=1e-3)


@pytest.mark.parametrize("puzzles_per_image", [1, 3])
def test_unpermuting_the_visible_tiles_restores_the_grid(puzzles_per_image: int) -> None:
    """Round trip of the label: tiles are cell-sized and unmoved, so put back in place they are the image."""
    config = _config(tile=20, jitter=0, channel_jitter=0, grey=0.0, occluders=0)
    images = _images(4)
    maker = _maker(config, puzzles_per_image)
    plan = maker.plan(4, torch_generator(3, "puzzles"))
    tiles = maker.cut(images, plan)
    for puzzle, label in enumerate(plan.labels):
        canvas = torch.zeros(3, 60, 60)
        for slot, cell in enumerate(_table(config)[label].tolist()):
            row, column = divmod(cell, 3)
            canvas[:, 20 * row :, 20 * column :][:, :20, :20] = tiles[plan.arrangement[puzzle, slot]]
        assert torch.equal(canvas, images[puzzle // puzzles_per_image, :, 2:62, 2:62].float())


def _slots(plan: PuzzlePlan, values: torch.Tensor) -> torch.Tensor:
    """Per-tile `values` (N, T) as the puzzles' slots see them, (N*K, 9)."""
    return values.flatten()[plan.arrangement]


@pytest.mark.parametrize("puzzles_per_image", [1, 4])
def test_slots_show_the_permutations_cells_or_another_image(puzzles_per_image: int) -> None:
    plan = _maker(_config(), puzzles_per_image).plan(50, torch_generator(0, "puzzles"))
    own = torch.arange(50).repeat_interleave(puzzles_per_image)[:, None]
    source, cell = _slots(plan, plan.source), _slots(plan, plan.cell)
    assert torch.equal(source != own, plan.occluded)
    assert torch.equal(cell[~plan.occluded], plan.permutations[~plan.occluded])
    assert torch.equal(plan.permutations, _table(_config())[plan.labels])


@pytest.mark.parametrize("puzzles_per_image", [1, 4])
def test_zero_one_and_two_occluders_are_equally_frequent(puzzles_per_image: int) -> None:
    plan = _maker(_config(), puzzles_per_image).plan(3000, torch_generator(1, "puzzles"))
    counts = torch.bincount(plan.occluded.sum(1), minlength=3)
    assert len(counts) == 3
    assert (counts / counts.sum() - 1 / 3).abs().max() < 0.03
    assert (plan.occluded.float().mean(0) - 1 / 9).abs().max() < 0.03


def test_the_occluders_of_a_puzzle_are_different_cells_of_one_image() -> None:
    plan = _maker(_config(occluders=4)).plan(500, torch_generator(1, "puzzles"))
    for puzzle in range(500):
        hidden = plan.occluded[puzzle]
        assert len(set(plan.source[puzzle, hidden].tolist())) <= 1
        assert len(set(plan.cell[puzzle, hidden].tolist())) == int(hidden.sum())


def test_occlusion_leaves_the_label_alone() -> None:
    labels = [_maker(_config(occluders=n)).plan(20, torch_generator(5, "puzzles")).labels for n in (0, 2)]
    assert torch.equal(labels[0], labels[1])


@pytest.mark.parametrize("std", [1.0, 50.0])
def test_each_tile_has_mean_zero_and_the_standard_deviation_asked_for(std: float) -> None:
    tiles = _make(_config(tile_std=std)).tiles
    assert tiles.shape == (6 * 9, 3, 14, 14)
    assert tiles.is_contiguous(memory_format=torch.channels_last)
    assert tiles.mean((1, 2, 3)).abs().max() < 1e-4 * std
    torch.testing.assert_close(tiles.std((1, 2, 3), correction=0), torch.full((54,), std))


def test_a_constant_tile_becomes_zero() -> None:
    tiles = standardised(torch.stack([torch.full((3, 14, 14), level) for level in (0.0, 77.3, 255.0)]), 50.0)
    assert tiles.abs().max() < 1


def test_the_tiles_of_grey_puzzles_have_identical_channels_and_others_do_not() -> None:
    batch = _make(_config(), count=40)
    grey = (batch.plan.colour == Colour.grey).flatten()
    spread = (batch.tiles - batch.tiles[:, :1]).abs().amax((1, 2, 3))
    assert (spread[grey] == 0).all()
    assert (spread[~grey] > 0).all()


@pytest.mark.parametrize(("grey", "projection"), [(0.7, 0.0), (0.5, 0.25)])
def test_the_shares_of_colours_are_those_asked_for(grey: float, projection: float) -> None:
    plan = _maker(_config(grey=grey, projection=projection)).plan(4000, torch_generator(2, "puzzles"))
    shares = torch.bincount(plan.colour[:, 0], minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([1 - grey - projection, grey, projection]), atol=0.03, rtol=0)


def test_a_puzzle_has_one_colour_unless_occluders_decide_alone() -> None:
    shared = _maker(_config()).plan(200, torch_generator(2, "puzzles"))
    assert (shared.colour == shared.colour[:, :1]).all()
    alone = _maker(_config(occluder_colour="independent")).plan(200, torch_generator(2, "puzzles"))
    own = alone.colour[torch.arange(200), (~alone.occluded).int().argmax(1)][:, None].expand(-1, 9)
    assert torch.equal(alone.colour[~alone.occluded], own[~alone.occluded])
    assert (alone.colour[alone.occluded] != own[alone.occluded]).any()


def test_offsets_span_the_jitters_and_stay_in_the_cell() -> None:
    plan = _maker(_config(grey=0.0)).plan(400, torch_generator(2, "puzzles"))
    assert (int(plan.offset.min()), int(plan.offset.max())) == (0, 4 + 2)
    assert int((plan.offset.amax(2) - plan.offset.amin(2)).max()) == 2


def test_the_projection_has_the_releases_numbers() -> None:
    expected = [[0.8333, 0.3333, -0.1667], [0.3333, 0.3333, 0.3333], [-0.1667, 0.3333, 0.8333]]
    torch.testing.assert_close(colour_projection(), torch.tensor(expected), atol=1e-4, rtol=0)


def test_the_crop_is_centred_or_random() -> None:
    centred = _maker(_config()).plan(50, torch_generator(0, "crops")).crop
    assert (centred == 2).all()
    anywhere = _maker(_config(random_crop=True)).plan(50, torch_generator(0, "crops")).crop
    assert set(anywhere.flatten().tolist()) == set(range(5))


def test_enlarged_crops_lie_within_the_image() -> None:
    plan = _maker(_config(random_crop=True, min_scale=0.4)).plan(500, torch_generator(0, "crops"))
    assert 0.4 * 60 <= float(plan.shown.min()) < 0.45 * 60
    assert 0.95 * 60 < float(plan.shown.max()) <= 60
    assert float(plan.crop.min()) >= 0
    assert float((plan.crop + plan.shown[:, None]).max()) <= SIDE
    assert (_maker(_config(random_crop=True)).plan(500, torch_generator(0, "crops")).shown == 60).all()


def test_the_generator_alone_decides_the_puzzles() -> None:
    first, again = _make(_config()), _make(_config())
    assert torch.equal(first.tiles, again.tiles)
    other = _maker(_config()).make(_images(6), torch_generator(3, "puzzles", 1))
    assert not torch.equal(first.tiles, other.tiles)


def test_several_puzzles_share_an_images_tiles() -> None:
    batch = _make(_config(), puzzles_per_image=4)
    assert batch.tiles.shape[0] == 6 * (9 + 2)
    assert batch.arrangement.shape == (24, 9)
    assert batch.labels.shape == (24,)


def test_a_lone_image_has_no_occluder() -> None:
    with pytest.raises(ValueError, match="only one"):
        _make(_config(), count=1)
    assert _make(_config(occluders=0), count=1).tiles.shape[0] == 9


def test_an_unresolved_config_is_refused() -> None:
    with pytest.raises(ValueError, match="resolved"):
        _maker(JigsawPlusConfig(permutations=30))


def test_the_papers_sizes_resolve_to_the_papers_tiles() -> None:
    config = JigsawPlusConfig(permutations=30, min_hamming=5).resolved(256)
    assert (config.crop, config.tile, config.jitter, config.channel_jitter) == (255, 64, 18, 2)
    images = torch.zeros((2, 3, 256, 256), dtype=torch.uint8)
    assert _maker(config).make(images, torch_generator(0, "x")).tiles.shape == (18, 3, 64, 64)
