"""The quality proof as Markdown: probes with intervals, the share of the gap that each method closes, paired tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.quality_recipe import Recipe
from worker.config.scores import Cell, ScoreSheet
from worker.evaluation.interval import paired_difference
from worker.evaluation.words import table

PAPER_SHARES = {
    "jigsaw++": (0.857, 0.604, 0.630, 0.528, 0.382),
    "cc+jigsaw++": (0.948, 0.698, 0.689, 0.597, 0.497),
    "cc+vgg-jigsaw++": (0.987, 0.776, 0.747, 0.650, 0.563),
}
"""(method - random) / (supervised - random) at conv1..conv5, from the paper's Table 4."""


@dataclass
class Proof:
    """What was found so far; `text` is the report."""

    recipe: Recipe
    facts: Mapping[str, str]
    seconds: Mapping[str, float]
    told: Mapping[str, str] = field(default_factory=dict)
    checkpoints: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    probes: dict[str, ScoreSheet] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    transfers: dict[str, dict[str, Cell]] = field(default_factory=dict)
    deviations: list[str] = field(default_factory=list)

    def add_probe(self, name: str, folder: Path) -> None:
        self.folders[name] = folder
        self.probes[name] = ScoreSheet.model_validate_json((folder / "evaluation.json").read_text())

    def add_transfer(self, name: str, sheet: ScoreSheet) -> None:
        self.transfers.setdefault(name, {}).update(sheet.cells)
        self.deviations += [line for line in sheet.deviations if line not in self.deviations]

    def text(self) -> str:
        taps = list(next(iter(self.probes.values())).cells) if self.probes else []
        rows = [[name, *(_cell(sheet.cells[tap]) for tap in taps)] for name, sheet in self.probes.items()]
        lines = [
            "# Quality of the methods, one recipe for all",
            "",
            *(f"- {key}: {value}" for key, value in self.facts.items()),
            "",
            "## Linear probes, top-1 in % (interval)",
            "",
            *table(["method", *taps], rows),
            "",
            *_shares(self.probes, taps),
            *_pairs(self.folders, taps),
            *_transfers(self.transfers, self.deviations),
            "## What was trained",
            "",
            *(f"- {name}: {words}" for name, words in self.told.items()),
            *(f"- {name} failed: {words}" for name, words in self.failed.items()),
            "",
            "Seconds: " + ", ".join(f"{name} {taken:.0f}" for name, taken in self.seconds.items()),
            "",
            "Recipe:",
            "",
            "```json",
            self.recipe.model_dump_json(indent=2),
            "```",
        ]
        return "\n".join(lines) + "\n"


def _transfers(transfers: Mapping[str, Mapping[str, Cell]], deviations: list[str]) -> list[str]:
    """Nothing where nothing was fine-tuned."""
    columns = list(dict.fromkeys(column for cells in transfers.values() for column in cells))
    if not columns:
        return []
    rows = [
        [name, *(_cell(cells[column]) if column in cells else "-" for column in columns)]
        for name, cells in transfers.items()
    ]
    notes = [f"- {line}" for line in deviations]
    return [
        "## Fine-tuned on annotated photographs, in % (interval)",
        "",
        *table(["method", *columns], rows),
        "",
        "What differs from the paper's protocols:",
        "",
        *notes,
        "",
    ]


def _shares(sheets: Mapping[str, ScoreSheet], taps: list[str]) -> list[str]:
    """Nothing where either end of the gap is missing."""
    if not {"random", "supervised"} <= set(sheets):
        return []
    low, high = sheets["random"].cells, sheets["supervised"].cells
    rows = []
    for name, sheet in sheets.items():
        if name in ("random", "supervised"):
            continue
        closed = [(sheet.cells[tap].value - low[tap].value) / (high[tap].value - low[tap].value) for tap in taps]
        rows.append([name, *(f"{share:.0%}" for share in closed)])
        if name in PAPER_SHARES:
            rows.append([f"{name}, paper's Table 4", *(f"{share:.0%}" for share in PAPER_SHARES[name])])
    return ["## Share of the gap from random to supervised that is closed", "", *table(["method", *taps], rows), ""]


def _pairs(folders: Mapping[str, Path], taps: list[str]) -> list[str]:
    """Each method less the one before it, on the same images."""
    names = list(folders)
    rows = [
        [f"{after} - {before}", *(_difference(folders[after], folders[before], tap) for tap in taps)]
        for before, after in pairwise(names)
    ]
    if not rows:
        return []
    note = "Percentage points (interval of Bonett and Price); bold where it leaves out zero."
    return ["## Each against the one above, on the same images", "", note, "", *table(["pair", *taps], rows), ""]


def _difference(after: Path, before: Path, tap: str) -> str:
    first, second = (np.load(folder / f"right_{tap}.npy").astype(np.float64) for folder in (after, before))
    found = paired_difference(first, second, 0.95)
    text = f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return f"**{text}**" if found.beyond else text


def _cell(cell: Cell) -> str:
    return f"{100 * cell.value:.1f} ({100 * cell.low:.1f}–{100 * cell.high:.1f})"
