"""Puzzles per second of the batched maker beside a per-image PIL pipeline that does the same; prints JSON.

`python -m benchmarks.puzzles --preset demo`. Both get decoded images in memory and end with normalised float32 tiles.
They run in turn on `--threads` threads (the PIL pipeline on one, as in a loader's worker process), `--repeats` times;
the quickest of each counts, so that a busy machine favours neither.
"""

import argparse
import json
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from worker.config.presets import Preset, preset_config
from worker.config.pretext.jigsaw import JigsawPlusConfig
from worker.pretext.permutations import make_permutations
from worker.pretext.puzzles import CELLS, GRID, JigsawMaker
from worker.stages.randomness import torch_generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", type=Preset, choices=list(Preset), default=Preset.demo)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = preset_config(arguments.preset).pretrain.pretext.resolved(256)
    assert isinstance(config, JigsawPlusConfig)
    assert isinstance(config.side, int)
    images = np.random.default_rng(0).integers(0, 256, (arguments.batch, config.side, config.side, 3), np.uint8)
    table = make_permutations(config.permutations, config.min_hamming).table
    seconds = _quickest([_batched(config, table, images), _one_by_one(config, table, images)], arguments.repeats)
    report = {
        "preset": arguments.preset,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "crop": config.crop,
        "tile": config.tile,
        "puzzles_per_second": {
            "batched": arguments.batch / seconds[0],
            "pil": arguments.batch / seconds[1],
        },
        "ratio": seconds[1] / seconds[0],
    }
    print(json.dumps(report, indent=2))


def _quickest(makers: list[Callable[[], Tensor]], repeats: int) -> list[float]:
    best = [float("inf")] * len(makers)
    for make in makers:
        make()
    for _ in range(repeats):
        for index, make in enumerate(makers):
            started = time.perf_counter()
            make()
            best[index] = min(best[index], time.perf_counter() - started)
    return best


def _batched(config: JigsawPlusConfig, table: NDArray[np.int64], images: NDArray[np.uint8]) -> Callable[[], Tensor]:
    maker = JigsawMaker(config, torch.from_numpy(table))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    generator = torch_generator(0, "benchmark")
    return lambda: maker.make(batch, generator).tiles


def _one_by_one(config: JigsawPlusConfig, table: NDArray[np.int64], images: NDArray[np.uint8]) -> Callable[[], Tensor]:
    pictures = [Image.fromarray(image) for image in images]
    generator = random.Random(0)

    def make() -> Tensor:
        puzzles = [_pil_puzzle(config, table, pictures, own, generator) for own in range(len(pictures))]
        return torch.stack([tile for puzzle in puzzles for tile in puzzle])

    return make


def _pil_puzzle(
    config: JigsawPlusConfig, table: NDArray[np.int64], pictures: list[Image.Image], own: int, generator: random.Random
) -> list[Tensor]:
    """Nine tiles of one puzzle, with the occluders of another image, as a data set's `__getitem__` would make them."""
    grey = generator.random() < config.grey
    other = (own + generator.randrange(1, len(pictures))) % len(pictures)
    scenes = [_pil_scene(config, pictures[index], grey, generator) for index in (own, other)]
    cells = [(0, int(cell)) for cell in table[generator.randrange(len(table))]]
    hidden = generator.sample(range(CELLS), generator.randint(0, config.occluders))
    for slot, cell in zip(hidden, generator.sample(range(CELLS), len(hidden)), strict=True):
        cells[slot] = (1, cell)
    return [_pil_tile(config, scenes[scene], cell, grey, generator) for scene, cell in cells]


def _pil_scene(config: JigsawPlusConfig, picture: Image.Image, grey: bool, generator: random.Random) -> Image.Image:
    assert isinstance(config.crop, int)
    room = picture.width - config.crop
    left, top = (generator.randint(0, room) if config.random_crop else room // 2 for _ in range(2))
    scene = picture.crop((left, top, left + config.crop, top + config.crop))
    return scene.convert("L") if grey else scene


def _pil_tile(config: JigsawPlusConfig, scene: Image.Image, cell: int, grey: bool, generator: random.Random) -> Tensor:
    assert isinstance(config.tile, int)
    assert isinstance(config.jitter, int)
    assert isinstance(config.channel_jitter, int)
    row, column = divmod(cell, GRID)
    size = scene.width // GRID
    left = column * size + generator.randint(0, config.jitter)
    top = row * size + generator.randint(0, config.jitter)
    bands = []
    for band in [scene] * 3 if grey else scene.split():
        right, down = (0, 0) if grey else (generator.randint(0, config.channel_jitter) for _ in range(2))
        box = (left + right, top + down, left + right + config.tile, top + down + config.tile)
        bands.append(np.asarray(band.crop(box), np.float32))
    pixels = np.stack(bands)
    return torch.from_numpy((pixels - pixels.mean()) / max(float(pixels.std()), 1e-2))


if __name__ == "__main__":
    main()
