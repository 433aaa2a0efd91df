"""Ways to solve a puzzle without looking at what is in its tiles; measured in docs/shortcuts.md."""

from worker.config.pretext.jigsaw import PuzzleConfig
from worker.pretext.puzzles import GRID

NARROW = 8
"""A mean gap below this fraction of a cell lets edges continue (the paper's is a quarter of one)."""


def open_shortcuts(config: PuzzleConfig) -> list[str]:
    """One sentence for each shortcut that a resolved config leaves open, saying what closes it."""
    return [*_edges(config), *_colours(config)]


def _edges(config: PuzzleConfig) -> list[str]:
    cell = int(config.crop) // GRID
    gap = cell - int(config.tile)
    if gap * NARROW < cell:
        return [
            f"Neighbouring tiles are cut {gap} px apart on average, in cells of {cell} px: their edges tell which "
            f"belong together. A smaller `tile` (about {round(cell * 64 / 85)}) leaves a gap."
        ]
    if config.jitter == 0:
        return [
            f"Neighbouring tiles are always cut {gap} px apart: their edges tell which belong together. A `jitter` of "
            f"about {round(cell * 18 / 85)} makes the gap vary."
        ]
    return []


def _colours(config: PuzzleConfig) -> list[str]:
    if config.grey or config.projection or config.channel_jitter:
        return []
    return [
        "Nothing hides how a lens shifts colours against each other, more the farther from the image's centre: that "
        "tells a tile's place. `grey` closes it in that share of the puzzles, `channel_jitter` blurs it."
    ]
