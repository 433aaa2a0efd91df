"""How many puzzles can be solved without looking at what is in the tiles? Prints a Markdown table.

`python -m benchmarks.shortcuts FOLDER` with a folder of photographs. Each solver sees one low-level cue alone and tells
the permutation among `--permutations`: how well the tiles' edges continue into each other; the mean and deviation of
each tile's channels; how far red and blue are shifted against green in each tile. The last two learn on two thirds of
the images which cell a tile comes from, then all are asked for puzzles of the other images.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from worker.config.pretext.jigsaw import JigsawConfig, JigsawPlusConfig, PuzzleConfig
from worker.pretext.permutations import make_permutations
from worker.pretext.puzzles import CELLS, GRID, JigsawMaker, standardised
from worker.stages.randomness import numpy_generator, torch_generator

SIDE = 160
ABERRATIONS = {"none": (0, 0, 0), "green inwards": (1, 0, 1), "red outwards, blue inwards": (1, 0, -1)}
"""Pixels that red, green and blue are moved outwards by a simulated lens, at the middle of an edge of the image."""
RIGHT = [(cell, cell + 1) for cell in range(CELLS) if cell % GRID < GRID - 1]
BELOW = [(cell, cell + GRID) for cell in range(CELLS - GRID)]


@dataclass(frozen=True)
class Setting:
    """A way to cut puzzles."""

    name: str
    config: PuzzleConfig
    normalised: bool = True


@dataclass(frozen=True)
class Puzzles:
    tiles: Tensor
    """(N, 9, 3, tile, tile) float32, in slot order."""
    labels: NDArray[np.int64]
    """(N,): row of `table`."""
    cells: NDArray[np.int64]
    """(N, 9): the cell each slot shows; -1 where it shows another image's tile."""
    table: NDArray[np.int64] = field(repr=False)


def settings(permutations: int) -> list[Setting]:
    few: dict[str, Any] = {"permutations": permutations, "min_hamming": 5}
    bare = {"channel_jitter": 0, "jitter": 0}
    return [
        Setting("Jigsaw++, as in the paper", JigsawPlusConfig(**few)),
        Setting("Jigsaw++, no grey", JigsawPlusConfig(**few, grey=0)),
        Setting("Jigsaw (2016): no occluders, in colour", JigsawConfig(**few)),
        Setting("Jigsaw, all grey", JigsawConfig(**few, grey=1)),
        Setting("Jigsaw, all projected", JigsawConfig(**few, projection=1)),
        Setting("Jigsaw, tiles not normalised", JigsawConfig(**few), normalised=False),
        Setting("Jigsaw, no channel jitter", JigsawConfig(**few, channel_jitter=0)),
        Setting("Jigsaw, no channel jitter, all grey", JigsawConfig(**few, channel_jitter=0, grey=1)),
        Setting("Jigsaw, a gap of 13 px but no jitter", JigsawConfig(**few, **bare, tile=40)),
        Setting("Jigsaw, a gap of 4 px but no jitter", JigsawConfig(**few, **bare, tile=49)),
        Setting("Jigsaw, gaps of 0 to 8 px by jitter", JigsawConfig(**few, channel_jitter=0, jitter=4, tile=49)),
        Setting("Jigsaw, no gap, no jitter", JigsawConfig(**few, **bare, tile=53)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=900)
    parser.add_argument("--permutations", type=int, default=100)
    arguments = parser.parse_args()
    images = _read(arguments.folder, arguments.images)
    seen = {name: torch.stack([_aberrated(image, moved) for image in images]) for name, moved in ABERRATIONS.items()}
    print(f"| puzzles | edges | statistics | {' | '.join(f'colour shift: {name}' for name in ABERRATIONS)} |")
    print(f"|{'---|' * (3 + len(ABERRATIONS))}")
    for setting in settings(arguments.permutations):
        print(f"| {setting.name} | {' | '.join(_accuracies(setting, images, seen))} |", flush=True)
    tested = arguments.images - len(_trained(images))
    print(f"\nChance: {1 / arguments.permutations:.1%}. {tested} puzzles a figure, of {arguments.images} images.")


def _accuracies(setting: Setting, images: Tensor, aberrated: dict[str, Tensor]) -> list[str]:
    edges = _solved_by_edges(_puzzles(setting, images[len(_trained(images)) :], 1))
    statistics = _solved_by_cell(setting, images, _statistics)
    shifts = [_solved_by_cell(setting, seen, _colour_shifts) for seen in aberrated.values()]
    return [f"{accuracy:.1%}" for accuracy in (edges, statistics, *shifts)]


def _trained(images: Tensor) -> Tensor:
    return images[: len(images) * 2 // 3]


def _read(folder: Path, count: int) -> Tensor:
    """uint8 (count, 3, SIDE, SIDE): `count` of the folder's photographs, the shorter side resized, the centre cut."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = numpy_generator(0, "photographs").permutation(len(files))[:count]
    return torch.stack([_square(files[index]) for index in chosen])


def _square(file: Path) -> Tensor:
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    shorter = min(image.size)
    left, top = (image.width - shorter) // 2, (image.height - shorter) // 2
    box = (left, top, left + shorter, top + shorter)
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _aberrated(image: Tensor, moved: tuple[int, int, int]) -> Tensor:
    """Channels magnified about the centre by different factors, as lenses do."""
    magnified = 1 + torch.tensor(moved) / (SIDE / 2)
    grids = torch.eye(2, 3) / magnified[:, None, None]
    grid = functional.affine_grid(grids, [3, 1, SIDE, SIDE], align_corners=False)
    seen = functional.grid_sample(image[:, None].float(), grid, padding_mode="border", align_corners=False)
    return seen[:, 0].round().byte()


def _puzzles(setting: Setting, images: Tensor, repeats: int) -> Puzzles:
    config = setting.config.resolved(SIDE)
    table = make_permutations(config.permutations, config.min_hamming).table
    maker = JigsawMaker(config, torch.from_numpy(table))
    shown = images.repeat(repeats, 1, 1, 1)
    plan = maker.plan(len(shown), torch_generator(len(images), "audit"))
    tiles = maker.cut(shown, plan)
    if setting.normalised:
        tiles = standardised(tiles, config.tile_std)
    cells = plan.permutations.masked_fill(plan.occluded, -1)
    return Puzzles(tiles.contiguous().view(-1, CELLS, *tiles.shape[1:]), plan.labels.numpy(), cells.numpy(), table)


def _solved_by_edges(puzzles: Puzzles) -> float:
    """The permutation whose neighbouring tiles differ least along their common edges, in sum of squares."""
    tiles, slot_of = puzzles.tiles, torch.from_numpy(np.argsort(puzzles.table, axis=1))
    rights = torch.cdist(tiles[..., :, -1].flatten(2), tiles[..., :, 0].flatten(2)).square()
    belows = torch.cdist(tiles[..., -1, :].flatten(2), tiles[..., 0, :].flatten(2)).square()
    costs = torch.zeros(len(tiles), len(slot_of))
    for pairs, differences in ((RIGHT, rights), (BELOW, belows)):
        for one, other in pairs:
            costs += differences[:, slot_of[:, one], slot_of[:, other]]
    return float((costs.argmin(1).numpy() == puzzles.labels).mean())


def _solved_by_cell(setting: Setting, images: Tensor, cue: Callable[[Tensor], Tensor]) -> float:
    """The permutation that is likeliest where each tile's cell is told, by its cue alone, by logistic regression."""
    trained = _trained(images)
    learning, asked = _puzzles(setting, trained, repeats=2), _puzzles(setting, images[len(trained) :], repeats=1)
    own = learning.cells.ravel() >= 0
    solver = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    solver.fit(_within_puzzle(cue(learning.tiles))[own], learning.cells.ravel()[own])
    told = np.log(np.maximum(solver.predict_proba(_within_puzzle(cue(asked.tiles))), 1e-12)).reshape(-1, CELLS, CELLS)
    likelihood = sum(told[:, slot, asked.table[:, slot]] for slot in range(CELLS))
    return float((np.argmax(likelihood, axis=1) == asked.labels).mean())


def _within_puzzle(cue: Tensor) -> NDArray[np.float32]:
    """(N, 9, F) -> (N * 9, 2F): a tile's values, and their difference to the mean over its puzzle."""
    both = torch.cat([cue, cue - cue.mean(1, keepdim=True)], dim=2)
    values: NDArray[np.float32] = both.flatten(0, 1).numpy()
    return values


def _statistics(tiles: Tensor) -> Tensor:
    """(N, 9, 6): mean and deviation of each channel."""
    return torch.cat([tiles.mean((3, 4)), tiles.std((3, 4))], dim=2)


def _colour_shifts(tiles: Tensor) -> Tensor:
    """(N, 9, 4): how far red and blue are shifted against green, down and right, by least squares (Lucas-Kanade)."""
    values = tiles - tiles.mean((3, 4), keepdim=True)
    values = values / values.std((3, 4), keepdim=True).clamp_min(1e-3)
    green = values[:, :, 1]
    down, right = torch.gradient(green, dim=(2, 3))
    slopes = torch.stack([down, right], dim=-1).flatten(2, 3)
    system = slopes.mT @ slopes + torch.eye(2)
    found = [
        torch.linalg.solve(system, slopes.mT @ (values[:, :, channel] - green).flatten(2)[..., None]).squeeze(-1)
        for channel in (0, 2)
    ]
    return torch.cat(found, dim=2)


if __name__ == "__main__":
    main()
