"""Puzzles made in batches on the device that trains (paper section 3; SPEC 3.2 with the choices of 3.7).

A puzzle's small integers are drawn first, on the CPU, into a `PuzzlePlan`; the pixels are then cut by one gather on the
device of the images. CPU and GPU therefore see the same puzzles, and a test or a viewer can read what was drawn.
"""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Generator, Tensor
from torch.nn import functional

from models.pixels import FLATTEST
from worker.config.pretext.jigsaw import PuzzleConfig
from worker.stages.crops import resampled_squares

CELLS = 9
GRID = 3


class Colour(IntEnum):
    """How the image of a tile is seen."""

    rgb = 0
    grey = 1
    projected = 2


COLOUR_AXIS = (-1.0, 2.0, -1.0)
"""The green-magenta axis that the projection removes (Doersch et al. 2015; SPEC 3.2, 5)."""


@dataclass(frozen=True, slots=True)
class PuzzlePlan:
    """What was drawn for N images with K puzzles each: CPU tensors, T tiles an image.

    T is 9 (a tile per slot) for K = 1. For K > 1 an image's tiles are its nine cells and its occluders, each made (and
    encoded) once, from which all its puzzles are laid.
    """

    labels: Tensor
    """(N*K,) int64, the permutation's index: what is to be told."""
    permutations: Tensor
    """(N*K, 9) int64: slot s shows source cell `permutations[:, s]`, where it is not occluded."""
    occluded: Tensor
    """(N*K, 9) bool: the slots that show another image's tile."""
    arrangement: Tensor
    """(N*K, 9) int64: which of the N*T tiles lies in each slot."""
    source: Tensor
    """(N, T) int64: the image each tile is cut from."""
    cell: Tensor
    """(N, T) int64, 0..8, row-major: the cell of that image."""
    colour: Tensor
    """(N, T) int64, a `Colour`."""
    shown: Tensor
    """(N,) float32: side of each image's crop, pixels; it is enlarged where that is less than the config's `crop`."""
    crop: Tensor
    """(N, 2) float32: top and left of each image's crop, pixels, in the mirrored image where it is mirrored."""
    offset: Tensor
    """(N, T, 3, 2) int64: top and left of each tile's red, green and blue within its cell, pixels."""
    mirrored: Tensor
    """(N,) bool."""


@dataclass(frozen=True, slots=True)
class PuzzleBatch:
    tiles: Tensor
    """(N*T, 3, tile, tile) float32, channels_last: mean 0, standard deviation `tile_std` over each tile's values."""
    labels: Tensor
    """(N*K,) int64, on the device of the tiles."""
    arrangement: Tensor
    """(N*K, 9) int64, on the device of the tiles: `embeddings[arrangement]` are the puzzles' slots in order."""
    plan: PuzzlePlan


class JigsawMaker:
    """Makes puzzles by a resolved config and a permutation table, int64 (P, 9).

    `config.puzzles_per_image` puzzles are laid from each image's tiles (our choice; the paper lays one).
    Raises ValueError where the config holds an `"auto"`.
    """

    def __init__(self, config: PuzzleConfig, permutations: Tensor) -> None:
        self._config = config
        self._permutations = permutations
        self._puzzles = config.puzzles_per_image
        self._side = _pixels(config.side)
        self._crop = _pixels(config.crop)
        self._cell = self._crop // GRID
        self._tile = _pixels(config.tile)
        self._jitter = _pixels(config.jitter)
        self._channel_jitter = _pixels(config.channel_jitter)

    def make(self, images: Tensor, generator: Generator) -> PuzzleBatch:
        """Puzzles of `images`, uint8 (N, 3, side, side), drawn from a CPU generator. Occluders need N >= 2."""
        plan = self.plan(len(images), generator)
        device = images.device
        return PuzzleBatch(
            tiles=standardised(self.cut(images, plan), self._config.tile_std),
            labels=plan.labels.to(device, non_blocking=True),
            arrangement=plan.arrangement.to(device, non_blocking=True),
            plan=plan,
        )

    def plan(self, count: int, generator: Generator) -> PuzzlePlan:
        """Draw puzzles for `count` images."""
        labels = torch.randint(len(self._permutations), (count, self._puzzles), generator=generator)
        permutations = self._permutations[labels]
        occluded, rank = self._draw_occluded(count, generator)
        source, cell, colour = self._draw_tiles(count, generator)
        chosen = torch.where(occluded, CELLS + rank, permutations)
        if self._puzzles == 1:
            # Hidden cells are never cut, nor encoded.
            source, cell, colour = (values.gather(1, chosen[:, 0]) for values in (source, cell, colour))
            chosen = torch.arange(CELLS).expand(count, 1, CELLS)
        first_tile = torch.arange(count)[:, None, None] * source.shape[1]
        shown, crop = self._draw_crops(count, generator)
        return PuzzlePlan(
            labels=labels.flatten(),
            permutations=permutations.flatten(0, 1),
            occluded=occluded.flatten(0, 1),
            arrangement=(first_tile + chosen).flatten(0, 1),
            source=source,
            cell=cell,
            colour=colour,
            shown=shown,
            crop=crop,
            offset=self._draw_offsets(colour, generator),
            mirrored=torch.rand(count, generator=generator) < (0.5 if self._config.flip else 0.0),
        )

    def cut(self, images: Tensor, plan: PuzzlePlan) -> Tensor:
        """The plan's tiles before normalisation: float32 (N*T, 3, tile, tile), 0..255, on the device of `images`."""
        device = images.device
        seen, corners = self._crops(images, plan)
        windows = self._planes(seen).unfold(2, self._tile, 1).unfold(3, self._tile, 1)
        in_cell = torch.stack([plan.cell // GRID, plan.cell % GRID], dim=-1) * self._cell
        places = (corners[plan.source] + in_cell).unsqueeze(2) + plan.offset
        turned = plan.mirrored[plan.source] & (self._config.min_scale == 1)
        # What lies left in the mirrored image lies right in the image itself.
        places[..., 1] = torch.where(turned[..., None], self._side - self._tile - places[..., 1], places[..., 1])
        top, left = places.to(device, non_blocking=True).unbind(-1)
        source = plan.source.unsqueeze(-1).to(device, non_blocking=True)
        tiles = windows[source, _planes_of(plan.colour).to(device, non_blocking=True), top, left].flatten(0, 1)
        if self._config.flip:
            tiles = _mirrored(tiles, turned.flatten())
        tiles = tiles.float()
        if not self._config.grey:
            return tiles
        grey = (plan.colour == Colour.grey).flatten().to(device, non_blocking=True)
        return torch.where(grey[:, None, None, None], tiles.mean(1, keepdim=True), tiles)

    def _draw_occluded(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Which slots are hidden, bool (N, K, 9), and by which of the image's occluders, int64 (N, K, 9)."""
        hidden = torch.randint(self._config.occluders + 1, (count, self._puzzles, 1), generator=generator)
        rank = torch.rand((count, self._puzzles, CELLS), generator=generator).argsort(-1)
        return rank < hidden, rank

    def _draw_tiles(self, count: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Source, cell and colour, (N, 9 + occluders) each, of an image's own nine tiles and then its occluders."""
        occluders = self._config.occluders
        own = torch.arange(count)[:, None].expand(-1, CELLS)
        other = draw_others(count, generator) if occluders else own[:, 0]
        foreign_cells = torch.rand((count, CELLS), generator=generator).argsort(-1)[:, :occluders]
        colour, independent = self._draw_colours(count, generator)
        foreign_colour = independent if self._config.occluder_colour == "independent" else colour
        return (
            torch.cat([own, other[:, None].expand(-1, occluders)], dim=1),
            torch.cat([torch.arange(CELLS).expand(count, -1), foreign_cells], dim=1),
            torch.cat([colour[:, None].expand(-1, CELLS), foreign_colour[:, None].expand(-1, occluders)], dim=1),
        )

    def _draw_colours(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Two independent decisions an image, (N,) each: its own, and one for its occluders."""
        share = torch.rand((2, count), generator=generator)
        grey = share < self._config.grey
        projected = (share < self._config.grey + self._config.projection) & ~grey
        own, foreign = (grey * int(Colour.grey) + projected * int(Colour.projected)).unbind()
        return own, foreign

    def _draw_crops(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Side (N,) and corner (N, 2) of each image's crop: whole pixels, but for enlarged ones."""
        smallest = self._config.min_scale
        shown = torch.full((count,), float(self._crop))
        if smallest < 1:
            shown *= smallest + (1 - smallest) * torch.rand(count, generator=generator)
        room = self._side - shown[:, None]
        if not self._config.random_crop:
            return shown, (room / 2).floor().expand(-1, 2)
        if smallest < 1:
            return shown, torch.rand((count, 2), generator=generator) * room
        return shown, torch.randint(self._side - self._crop + 1, (count, 2), generator=generator).float()

    def _draw_offsets(self, colour: Tensor, generator: Generator) -> Tensor:
        """(N, T, 3, 2). The channels of a grey tile are equal, so they move together."""
        shape = (*colour.shape, 3, 2)
        shift = torch.randint(self._channel_jitter + 1, shape, generator=generator)
        shift = torch.where((colour == Colour.grey)[..., None, None], shift[..., :1, :], shift)
        return shift + torch.randint(self._jitter + 1, (*colour.shape, 1, 2), generator=generator)

    def _crops(self, images: Tensor, plan: PuzzlePlan) -> tuple[Tensor, Tensor]:
        """The images, mirrored and enlarged as drawn, and the corners of their crops: (N, 2) int64, on the CPU.

        Where nothing is enlarged they come as they are: mirroring the tiles cut from them is cheaper.
        """
        device = images.device
        if self._config.min_scale == 1:
            return images, plan.crop.long()
        if self._config.flip:
            images = _mirrored(images.clone(), plan.mirrored)
        shown, corners = plan.shown.to(device, non_blocking=True), plan.crop.to(device, non_blocking=True)
        return resampled_squares(images, self._crop, shown, corners), torch.zeros_like(plan.crop, dtype=torch.int64)

    def _planes(self, images: Tensor) -> Tensor:
        """(N, 3 or 6, side, side): red, green, blue; and the projected ones, if there are any.

        Colours are decided before channels are shifted against each other (SPEC 3.2, 8), so projected tiles need planes
        of their own. The channels of grey tiles aren't shifted: those are greyed when cut, which is cheaper.
        """
        if not self._config.projection:
            return images
        rgb = images.float()
        return torch.cat(
            [rgb, torch.einsum("dc,nchw->ndhw", colour_projection().to(rgb.device, non_blocking=True), rgb)], dim=1
        )


def colour_projection() -> Tensor:
    """(3, 3): removes the green-magenta axis a, I - a^T a / (a a^T)."""
    axis = torch.tensor(COLOUR_AXIS)
    return torch.eye(3) - torch.outer(axis, axis) / axis.dot(axis)


def standardised(tiles: Tensor, std: float) -> Tensor:
    """float32 (M, 3, h, w) -> each tile less its mean over its standard deviation, times `std`; channels_last.

    Mean and deviation are over all of a tile's values; a constant tile becomes 0. `models.pixels.ImagePixels(std=std)`
    does the same to whole images, but for tiles about as flat as `FLATTEST`; this is ten times as fast on a CPU.
    """
    values = tiles.flatten(1)
    size = values.shape[1:]
    normalised = functional.layer_norm(values, size, weight=values.new_full(size, std), eps=FLATTEST**2)
    return normalised.view_as(tiles).contiguous(memory_format=torch.channels_last)


def _mirrored(images: Tensor, chosen: Tensor) -> Tensor:
    """Turns those that are `chosen`, bool (M,) on the CPU, left to right in place."""
    rows = chosen.nonzero().flatten().to(images.device, non_blocking=True)
    images[rows] = images[rows].flip(-1)
    return images


def _planes_of(colour: Tensor) -> Tensor:
    """(..., 3): the planes that a tile's red, green and blue are cut from."""
    table = torch.tensor([[0, 1, 2], [0, 1, 2], [3, 4, 5]])
    return table[colour]


def draw_others(count: int, generator: Generator) -> Tensor:
    """(N,): for each image another one of the batch."""
    if count < 2:
        raise ValueError("occluders come from another image of the batch, which holds only one")
    steps = torch.randint(1, count, (count,), generator=generator)
    return (torch.arange(count) + steps) % count


def _pixels(size: int | str) -> int:
    if not isinstance(size, int):
        raise ValueError(f"the config must be resolved first, not hold {size!r}")
    return size
